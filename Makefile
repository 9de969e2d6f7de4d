# One command per job, the same for people and for CI. Each sets up what it needs: `.venv` with the pinned, hashed
# requirements, the project itself, and the jars of Kafka. The first run takes a minute or two, the next ones seconds.

# A distribution builds its Python with profile-guided optimisation, which many another (pyenv's, by default) is not: that costs a third.
DISTRIBUTION_PYTHON := /usr/bin/python3
PYTHON ?= $(shell $(DISTRIBUTION_PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $(DISTRIBUTION_PYTHON) || echo python3)
ARGS ?=
SEEDS ?= 2000
KILLS ?= 30
MINUTES ?= 30
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
DEVSTACK := src/ordersaga/devstack
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--annotation-style line --custom-compile-command "make lock" --quiet pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help demo up test simulate mutations check bench chaos siege money saga setup lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'ARGS="..." is passed on, as in: make test ARGS="tests/unit -k saga"'

demo: setup ## run the whole system once, with orders that succeed and fail, and audit it
	@$(BIN)/ordersaga demo $(ARGS)

up: setup ## run the whole system until Ctrl-C and print its addresses
	@$(BIN)/ordersaga up $(ARGS)

test: setup ## all tests; WORKERS=2 processes take a file each, and each has a real Kafka and a real PostgreSQL of its own
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

simulate: setup ## SEEDS=2000 histories with crashes at every point; what breaks a promise is told in its shortest form
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

mutations: setup ## takes out one guard after the other, and says which history misses it
	@$(BIN)/python -m tests.simulation --mutations --seeds $(SEEDS) $(ARGS)

bench: setup ## the benchmarks; BENCH=name for one, ORDERS=n for its size, ARGS=--help for their names
	@$(BIN)/python -m benchmarks $(BENCH) $(if $(ORDERS),--orders $(ORDERS)) $(ARGS)

chaos: setup ## the system under load while parts of it are killed and frozen, then the audit; KILLS=n, ARGS=--help for the rest
	@$(BIN)/python -m tests.chaos --kills $(KILLS) $(ARGS)

siege: setup ## MINUTES=30 of overload and hostile clients beside ordinary customers: memory stays bounded, and the audit holds
	@$(BIN)/python -m tests.chaos.siege --minutes $(MINUTES) $(ARGS)

money: setup ## ORDERS=2000 while 30 % of the gateway's calls fail and payment is killed five times; the books must agree
	@$(BIN)/python -m tests.chaos.money $(if $(ORDERS),--orders $(ORDERS)) $(ARGS)

saga: $(VENV)/.project ## write docs/saga.md, the saga's table and diagrams, from the code
	@$(BIN)/python -m tests.docs.saga_page > docs/saga.md

check: $(VENV)/.project ## lint, format, types, imports, locks, compose file
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pip check
	cd $(DEVSTACK) && $(CURDIR)/$(BIN)/jgo lock --check
	$(if $(wildcard compose.yaml),$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml)

setup: $(VENV)/.jars ## what the others need, without doing anything yet

lock: $(VENV)/.project ## after a change of pyproject.toml or jgo.toml; ARGS=--upgrade takes newer versions
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(COMPILE) $(ARGS) -o requirements/runtime.txt
	$(COMPILE) $(ARGS) --extra devstack --extra dev --extra peers --constraints requirements/runtime.txt -o requirements/dev.txt
	$(BIN)/python -c 'from ordersaga.devstack import jars; jars.lock()'

# Files in .venv that say which step is done, so that nothing is done twice.

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'ordersaga needs Python 3.11 or newer, and $(PYTHON) is not (or is not there).'; \
		echo 'Name one that is: make PYTHON=python3.13 ...'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo 'On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	@touch $@

$(VENV)/.requirements: requirements/dev.txt $(VENV)/.python
	@echo 'Installing the pinned requirements into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.requirements
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.jars: $(DEVSTACK)/jgo.lock.toml $(DEVSTACK)/kafka.py $(VENV)/.project
	@$(BIN)/python -m ordersaga.devstack
	@touch $@
