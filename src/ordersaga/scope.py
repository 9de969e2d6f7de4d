"""What each service of a process has of its own besides its application: its name in log lines, its metrics, its exporter of spans.

One process may serve several services. The tasks of each run in a context of their own, in which `current` is the service's scope. A process that
serves one service, and everything outside `serve`, has the scope `ALONE`, whose metrics are in the library's own registry.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

from prometheus_client import REGISTRY, CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)


class Scope:
    """One service's scope. `of_process`: metrics of this process. `of_service`: metrics that each process of the service reads from the database.

    A scrape has the latter once, and a sum over processes is wrong.
    """

    def __init__(self, service: str | None, of_process: CollectorRegistry, of_service: CollectorRegistry) -> None:
        self.service: Final = service
        self.of_process: Final = of_process
        self.of_service: Final = of_service
        self.exporter: Any = None
        """The `tracing.Exporter` of its spans; None: no spans are made."""
        self.metrics: Final[dict[object, MetricWrapperBase]] = {}


ALONE: Final = Scope(None, REGISTRY, CollectorRegistry())
_current: Final[ContextVar[Scope]] = ContextVar("scope", default=ALONE)
_defined: Final[list["_Metric"]] = []
current: Final = _current.get


def begin(service: str, tells_process: bool) -> Scope:
    """Give the context that is running now a scope of its own. `tells_process`: its metrics have those of Python and of the process, too; one
    service of a process has them, or sums over services would count them again and again."""
    scope = Scope(service, CollectorRegistry(), CollectorRegistry())
    if tells_process:
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=scope.of_process)
    for each in _defined:
        if each.service in (None, service):
            each.made(scope)
    _current.set(scope)
    return scope


def metric(
    kind: type[M], name: str, about: str, *labels: str, of: str | None = None, shared: bool = False, **more: Any
) -> M:
    """A metric of which each scope has its own; to be used like one of the library's.

    `of`: the only service that has it. `shared`: it is one of the whole service, see `Scope.of_service`. `more`: such as `buckets`.
    """

    def make(scope: Scope) -> MetricWrapperBase:
        return kind(name, about, labels, registry=scope.of_service if shared else scope.of_process, **more)

    made = _Metric(make, of)
    _defined.append(made)
    made.made(ALONE)
    return cast(M, made)


class _Metric:
    """Stands for the metric of the current scope."""

    def __init__(self, make: Callable[[Scope], MetricWrapperBase], service: str | None) -> None:
        self._make: Final = make
        self.service: Final = service

    def made(self, scope: Scope) -> MetricWrapperBase:
        found = scope.metrics.get(self)
        if found is None:
            found = scope.metrics[self] = self._make(scope)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made(_current.get()), name)
