"""What each service of a process has of its own besides its application: its name in log lines, its metrics, its exporter of spans.

One process may serve several services. The tasks of each run in a context of their own, in which `current` is the service's. A process that
serves one service, and everything outside `serve`, has the one called `ALONE`, whose metrics are in the library's own registry.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

from prometheus_client import REGISTRY, CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)


class ServiceContext:
    """One service's context. `of_process`: metrics of this process. `of_service`: metrics that each process of the service reads from the database.

    A scrape has the latter once, and a sum over processes is wrong.
    """

    def __init__(self, service: str | None, of_process: CollectorRegistry, of_service: CollectorRegistry) -> None:
        self.service: Final = service
        self.of_process: Final = of_process
        self.of_service: Final = of_service
        self.exporter: Any = None
        """The `tracing.Exporter` of its spans; None: no spans are made."""
        self.metrics: Final[dict[object, MetricWrapperBase]] = {}


ALONE: Final = ServiceContext(None, REGISTRY, CollectorRegistry())
_current: Final[ContextVar[ServiceContext]] = ContextVar("service", default=ALONE)
_defined: Final[list["_Metric"]] = []
current: Final = _current.get


def begin(service: str, tells_process: bool) -> ServiceContext:
    """Give what runs from here on in this `contextvars.Context` a service's context of its own.

    `tells_process`: its metrics have those of Python and of the process, too. Only one service of a process has them: a sum over services would
    count the process once for each.
    """
    here = ServiceContext(service, CollectorRegistry(), CollectorRegistry())
    if tells_process:
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=here.of_process)
    for each in _defined:
        if each.service in (None, service):
            each.of(here)
    _current.set(here)
    return here


def metric(
    kind: type[M],
    name: str,
    documentation: str,
    *labels: str,
    service: str | None = None,
    of_service: bool = False,
    **more: Any,
) -> M:
    """A metric of which each service's context has its own; to be used like one of the library's.

    `service`: the only one that has it. `of_service`: its registry is `ServiceContext.of_service`. `more`: the kind's own, such as `buckets`.
    """

    def make(here: ServiceContext) -> MetricWrapperBase:
        return kind(name, documentation, labels, registry=here.of_service if of_service else here.of_process, **more)

    made = _Metric(make, service)
    _defined.append(made)
    made.of(ALONE)
    return cast(M, made)


class _Metric:
    """Stands for the metric of the current service's context."""

    def __init__(self, make: Callable[[ServiceContext], MetricWrapperBase], service: str | None) -> None:
        self._make: Final = make
        self.service: Final = service

    def of(self, here: ServiceContext) -> MetricWrapperBase:
        found = here.metrics.get(self)
        if found is None:
            found = here.metrics[self] = self._make(here)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of(current()), name)
