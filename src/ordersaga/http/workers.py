"""The metrics of a service whose worker processes share a port: the worker that is asked asks the others, and answers for all.

Each sample has the label `worker`, its worker's number. A worker that has ended, or does not answer, has no samples, and its
`ordersaga_worker_up` is 0. A worker that is started again takes its number over. Metrics of `ServiceContext.of_service` are the same in each worker, since they are
read from the database: those of the worker that is asked are told alone, without the label.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, Metric, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from ordersaga import service_context

ANSWERS_WITHIN_S: Final = 3.0
ACCEPT_BYTES_MAX: Final = 4_096
UP: Final = "ordersaga_worker_up"
UP_MEANS: Final = "Whether this worker of `serve --workers` answers the others: 1 or 0"
END: Final = b"# EOF\n"
disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each counter and histogram, of no use to a rate
_family: Final = re.compile(rb"^# HELP (\S+).*\n# TYPE .*\n", re.MULTILINE)


class Worker(Struct, frozen=True):
    """One of `count` workers. `folder`: where each has a socket, named by the service, since several may share the workers, and its number."""

    number: int
    count: int
    folder: Path
    service: str = ""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer the other workers."""
        path = self._socket(self.number)
        path.unlink(missing_ok=True)  # of a worker with this number that was killed
        server = await asyncio.start_unix_server(self._tell, path)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)

    async def scrape(self, accept: str) -> bytes:
        """The metrics of all workers, in the format that the header `Accept` asks for."""
        others = [each for each in range(self.count) if each != self.number]
        told = dict(zip(others, await asyncio.gather(*(self._ask(each, accept) for each in others)), strict=True))
        told[self.number] = self._own(accept)
        texts = [told[each] or b"" for each in sorted(told)]
        up = _encoded(_Up({each: told[each] is not None for each in sorted(told)}), accept)
        return merged([_encoded(service_context.current().of_service, accept), up, *texts])

    async def _ask(self, other: int, accept: str) -> bytes | None:
        """The metrics of another worker; None if it does not answer."""
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S):
                reader, writer = await asyncio.open_unix_connection(self._socket(other))
                with contextlib.closing(writer):
                    writer.write(accept.encode("latin-1")[: ACCEPT_BYTES_MAX - 1] + b"\n")
                    return await reader.read()
        except (OSError, TimeoutError):
            return None

    async def _tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
            writer.write(self._own((await reader.readline()).decode("latin-1").strip()))
            await writer.drain()

    def _own(self, accept: str) -> bytes:
        return _encoded(_Labelled(service_context.current().of_process, str(self.number)), accept)

    def _socket(self, number: int) -> Path:
        return self.folder / f"{self.service}{number}"


def alone(accept: str) -> bytes:
    """The metrics of the current service in a process that is its only one."""
    here = service_context.current()
    return merged([_encoded(here.of_service, accept), _encoded(here.of_process, accept)])


def merged(texts: Iterable[bytes]) -> bytes:
    """One text of several in one format, in which each metric has its head once, before all of its samples."""
    heads: dict[bytes, bytes] = {}
    samples: dict[bytes, list[bytes]] = {}
    end = b""
    for text in texts:
        if text.endswith(END):
            text, end = text[: -len(END)], END
        found = list(_family.finditer(text))
        ends = [each.start() for each in found[1:]] + [len(text)]
        for each, until in zip(found, ends, strict=False):
            heads.setdefault(each[1], each[0])
            samples.setdefault(each[1], []).append(text[each.end() : until])
    return b"".join(heads[name] + b"".join(samples[name]) for name in heads) + end


class _Labelled(Collector):
    """Metrics of this process with the label `worker`."""

    def __init__(self, metrics: CollectorRegistry, worker: str) -> None:
        self._metrics: Final = metrics
        self._worker: Final = worker

    def collect(self) -> Iterable[Metric]:
        for each in self._metrics.collect():
            # A new one: some collectors hand out the same object each time.
            found = Metric(each.name, each.documentation, each.type, each.unit)
            found.samples = [_with_label(sample, self._worker) for sample in each.samples]
            yield found


class _Up(Collector):
    def __init__(self, up: dict[int, bool]) -> None:
        self._up: Final = up

    def collect(self) -> Iterable[Metric]:
        found = GaugeMetricFamily(UP, UP_MEANS, labels=["worker"])
        for worker, is_up in self._up.items():
            found.add_metric([str(worker)], float(is_up))
        yield found


def _encoded(collector: Collector, accept: str) -> bytes:
    text: bytes = choose_encoder(accept)[0](collector)
    return text


def _with_label(sample: Sample, worker: str) -> Sample:
    return sample._replace(labels={**sample.labels, "worker": worker})
