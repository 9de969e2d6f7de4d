"""The page of metrics, as the code defines them: `make metrics` writes `docs/metrics.md` from here, and a test compares the two."""

import importlib
import pkgutil
from typing import Final, NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

import ordersaga
from ordersaga.http.workers import UP, UP_MEANS
from ordersaga.service_context import ALONE
from ordersaga.settings import SERVICES

PACKAGES: Final = ("http", "messaging", "operations", *SERVICES)
HEAD: Final = """\
# Metrics

Written by `make metrics` from the code; a test compares the two.

Each service has them at `/metrics`, as text or as OpenMetrics with exemplars. A metric of a process counts what this process does. With `serve --workers`
any worker answers for all of them, and each sample has the label `worker`: sum over `worker`. A metric of a service comes from its database, so each
process tells the same: take the maximum. `process_*` and `python_*` are those of Prometheus's Python client; of services that share a process the first
one has them. No label has an order, a customer or an error's text.

| metric | type | labels | of a | meaning |
|---|---|---|---|---|
"""


class Described(NamedTuple):
    """A metric. `names`: as expressions have them."""

    name: str
    kind: str
    labels: tuple[str, ...]
    of: str
    means: str

    @property
    def names(self) -> set[str]:
        if self.kind == "histogram":
            return {f"{self.name}_{end}" for end in ("bucket", "count", "sum")}
        return {self.name}


def metrics() -> list[Described]:
    """All metrics of the four services, by name."""
    for package in PACKAGES:
        module = importlib.import_module(f"ordersaga.{package}")
        for each in pkgutil.walk_packages(module.__path__, f"{module.__name__}."):
            importlib.import_module(each.name)
    found = [Described(UP, "gauge", ("worker",), "process", UP_MEANS)]
    found += [_described(each, "process") for each in _ours(REGISTRY)]
    found += [_described(each, "service") for each in _ours(ALONE.of_service)]
    return sorted(found)


def _ours(registry: CollectorRegistry) -> list[MetricWrapperBase]:
    known = set(registry._collector_to_names)
    return [each for each in known if isinstance(each, MetricWrapperBase) and each._name.startswith(ordersaga.__name__)]


def _described(metric: MetricWrapperBase, of: str) -> Described:
    name = f"{metric._name}_total" if metric._type == "counter" else metric._name
    return Described(name, str(metric._type), tuple(metric._labelnames), of, metric._documentation)


def document() -> str:
    """`docs/metrics.md`."""
    rows = []
    for each in metrics():
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `{each.name}` | {each.kind} | {labels} | {each.of} | {each.means} |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    print(document(), end="")
