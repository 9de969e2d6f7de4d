# One command per job, the same for people and for CI. Each command first sets up what it needs: `.venv` with the pinned, hashed
# requirements, the project itself, and the jars of Kafka. The first run takes a minute or two, the next ones seconds.

# A distribution builds its Python with profile-guided optimisation. Other builds (pyenv's default) often do without, and are a third slower.
DISTRIBUTION_PYTHON := /usr/bin/python3
PYTHON ?= $(shell $(DISTRIBUTION_PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $(DISTRIBUTION_PYTHON) || echo python3)
# A run of all tests starts hundreds of processes. Where no compiled files may be written, each compiles our code anew: a third of its start.
unexport PYTHONDONTWRITEBYTECODE

ARGS ?=
SEEDS ?= 2000
KILLS ?= 30
MINUTES ?= 30
WORKERS ?= 4

VENV := .venv
BIN := $(VENV)/bin
RELEASE := $(VENV)/release
SITE := $(VENV)/site
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' src/ordersaga/__init__.py)
DEVSTACK := src/ordersaga/devstack
PIN := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--annotation-style line --custom-compile-command "make lock" --quiet
COMPILE := $(PIN) pyproject.toml

# The tests by topic: `make test PART=runtime`. What no other part names is in `system`.
PART_fast := tests/unit tests/docs -m "not processes"
PART_runtime := tests/contract $(wildcard $(addprefix tests/integration/test_, $(addsuffix .py, database* dying* gaps* migrat* plans* \
	publish* obstacles* poison* races* shrink* timers* topics*)))
PART_operators := $(wildcard $(addprefix tests/integration/test_, $(addsuffix .py, dead_letter* letter* parked* partner_letter*)))
PART_order := $(wildcard $(addprefix tests/integration/test_, $(addsuffix .py, order* prices* repeated* returns*)))
PART_stock := $(wildcard $(addprefix tests/integration/test_, $(addsuffix .py, stock* delivery* catalogue*)))
PART_payment := $(wildcard tests/integration/test_payment*.py)
PART_audit := $(wildcard tests/integration/test_audit*.py)
PART_http := $(wildcard $(addprefix tests/integration/test_, $(addsuffix .py, http* lists* clients*)))
PART_interop := tests/interop
PART_conform := tests/conformance
PART_browser := $(wildcard tests/browser/test_*.py tests/integration/test_web_*.py)
NAMED := $(PART_runtime) $(PART_operators) $(PART_order) $(PART_stock) $(PART_payment) $(PART_audit) $(PART_http) $(PART_browser)
PART_system := $(filter-out $(NAMED), $(wildcard tests/integration/test_*.py)) tests/chaos tests/simulation tests/fuzz tests/docs tests/node tests/java
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo up setup test-fast test check hooks simulate mutations chaos cluster upgrade siege money fuzz bench saga contract metrics scaling screenshots site lock audit check-deploy release

help: ## this list
	@awk -F ':.*## ' '/^#> / {print "\n" substr($$0, 4)} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'ARGS="..." is passed on to the command: make test ARGS="tests/unit -k saga"'

#> Run it
demo: setup ## run the whole system once, with orders that succeed and orders that fail, and audit it
	@$(BIN)/ordersaga demo $(ARGS)

up: setup ## run the whole system until Ctrl-C and print its addresses
	@$(BIN)/ordersaga up $(ARGS)

setup: $(VENV)/.jars ## install what the other commands need, and run nothing

#> Change it
test-fast: $(VENV)/.project ## the tests that start no server and no other process: under a minute
	@$(PYTEST) $(PART_fast) $(ARGS)

test: setup $(VENV)/.chromium ## all tests. Each of WORKERS=4 processes takes a file at a time and has its own Kafka and PostgreSQL. PART=name: see CONTRIBUTING.md
	@$(PYTEST) $(if $(PART),$(or $(PART_$(PART)),$(error there is no part $(PART)))) $(ARGS)

check: $(VENV)/.project ## lint, format, types, imports, lock files, compose file
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pip check
	cd $(DEVSTACK) && $(CURDIR)/$(BIN)/jgo lock --check
	$(if $(wildcard compose.yaml),$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml)

hooks: $(VENV)/.project ## have git run lint, format, types and imports before a commit, and the fast tests before a push
	@$(BIN)/pre-commit install

saga: $(VENV)/.project ## write docs/saga.md, the saga's table and diagrams, and its Korean page, from the code
	@$(BIN)/python -m tests.docs.saga_page

contract: $(VENV)/.project ## write docs/contract, the pages of topics and routes, from the code
	@$(BIN)/python -m tests.docs.contract_pages

metrics: $(VENV)/.project ## write docs/metrics.md, the page of metrics, from the code
	@$(BIN)/python -m tests.docs.metrics_page > docs/metrics.md

scaling: $(VENV)/.project ## write the tables of docs/scaling.md, from the statements and the costs of an order; ARGS=--quick leaves out the simulation
	@$(BIN)/python -m tests.docs.scaling_page $(ARGS)

screenshots: setup $(VENV)/.chromium ## take the pictures in docs/screenshots again, from the running pages
	@$(BIN)/python -m tests.browser.screenshots

site: $(SITE)/.done ## make the documentation site in build/site/html, from docs, the READMEs and the code; fails at a link that leads nowhere. Needs npm once
	@$(BIN)/python -m tests.docs.site_pages build/site/pages $(SITE)/mermaid.min.js
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict
	@$(BIN)/python -m tests.docs.site_files check build/site/html
	@echo 'To read it: python3 -m http.server --directory build/site/html'

#> Try to break it
simulate: setup ## SEEDS=2000 histories with crashes at any statement; prints the shortest history that breaks a promise
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

mutations: setup ## remove one guard after the other, and say which history misses it
	@$(BIN)/python -m tests.simulation --mutations --seeds $(SEEDS) $(ARGS)

chaos: setup ## KILLS=30 kills and freezes of services, broker and databases under load, then the audit; ARGS=--help
	@$(BIN)/python -m tests.chaos --kills $(KILLS) $(ARGS)

cluster: setup ## three brokers, a primary database and two standbys: KILLS=30 of them are killed or cut off under load, then the audit; ARGS=--help
	@$(BIN)/python -m tests.chaos.machines --kills $(KILLS) $(ARGS)

upgrade: setup ## the last release is replaced by the present code under load, brought back and replaced again, then the audit; ARGS=--help
	@$(BIN)/python -m tests.chaos.upgrade $(ARGS)

siege: setup ## MINUTES=30 of overload and hostile clients beside ordinary customers: memory stays bounded, and the audit holds
	@$(BIN)/python -m tests.chaos.siege --minutes $(MINUTES) $(ARGS)

money: setup ## ORDERS=2000 while 30 % of the gateway's calls fail and Payment is killed five times; the books must agree
	@$(BIN)/python -m tests.chaos.money $(if $(ORDERS),--orders $(ORDERS)) $(ARGS)

fuzz: setup ## valid and odd requests to each operation by each role, and to each page; no answer may be an error of ours; ARGS=--help
	@$(BIN)/python -m tests.fuzz $(ARGS)

#> Measure it
bench: setup ## the benchmarks; BENCH=name for one, ORDERS=n for its size, ARGS=--help for their names
	@$(BIN)/python -m benchmarks $(BENCH) $(if $(ORDERS),--orders $(ORDERS)) $(ARGS)

#> Maintain it
lock: $(VENV)/.project ## write the lock files again, after a change of pyproject.toml or jgo.toml; ARGS=--upgrade takes newer versions
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(COMPILE) $(ARGS) --extra traces -o requirements/runtime.txt
	$(COMPILE) $(ARGS) --extra traces --extra devstack --extra dev --extra peers --constraints requirements/runtime.txt -o requirements/dev.txt
	$(PIN) benchmarks/peers/engines/requirements.in $(ARGS) --constraints requirements/dev.txt -o requirements/engines.txt
	$(PIN) requirements/release.in $(ARGS) -o requirements/release.txt
	$(PIN) requirements/site.in $(ARGS) --constraints requirements/dev.txt -o requirements/site.txt
	$(BIN)/python -c 'from ordersaga.devstack import jars; jars.lock()'

audit: $(RELEASE)/.done ## ask PyPI whether a pinned package has a known vulnerability; fails also, and says so, where PyPI does not say
	@PYTHONPATH=. $(RELEASE)/bin/python -m tests.deploy.audit

check-deploy: $(RELEASE)/.done ## lint, render and judge the Helm chart by Helm and kubeconform, which are built with Go; writes deploy/rendered
	@PYTHONPATH=. $(RELEASE)/bin/python -m tests.deploy.chart

release: $(RELEASE)/.done ## from what is committed: the wheel, all that its image is built from, and the list of its packages (SBOM), in dist/
	@test -z "$$(git status --porcelain -- src requirements deploy pyproject.toml README.md LICENSE)" || { \
		echo 'There are changes that are not committed, so nobody could build this release again. Commit them first.'; exit 1; }
	@rm -rf dist && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/hatchling build -t wheel
	@git archive --format=tar.gz --output=dist/ordersaga-$(VERSION)-image.tar.gz HEAD \
		deploy/Dockerfile LICENSE README.md pyproject.toml requirements src
	@$(RELEASE)/bin/cyclonedx-py requirements requirements/runtime.txt --output-reproducible --of JSON \
		--pyproject pyproject.toml -o dist/ordersaga-$(VERSION)-sbom.cdx.json 2>/dev/null
	@sed -i 's/"name": "ordersaga",/&\n      "version": "$(VERSION)",/' dist/ordersaga-$(VERSION)-sbom.cdx.json  # it reads no version that the code has
	@ls -l dist

# Files in .venv that say which step is done, so that nothing is done twice.

# The tests in a browser need the system's Chromium. Without it they are skipped, and say why.
$(VENV)/.chromium: $(VENV)/.python
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then touch $@; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'Installing the system package chromium ...'; \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium fonts-noto-cjk >/dev/null && touch $@ || \
		echo 'Chromium could not be installed: the tests in a browser are skipped.'; \
	else echo 'No Chromium here, and it cannot be installed: the tests in a browser are skipped.'; fi

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

$(RELEASE)/.done: requirements/release.txt $(VENV)/.project
	@$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(SITE)/.done: requirements/site.txt requirements/mermaid.json $(VENV)/.project
	@$(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@$(BIN)/python -m tests.docs.site_files fetch $(SITE)/mermaid.min.js
	@touch $@

$(VENV)/.jars: $(DEVSTACK)/jgo.lock.toml $(DEVSTACK)/kafka.py $(VENV)/.project
	@$(BIN)/python -m ordersaga.devstack
	@touch $@
