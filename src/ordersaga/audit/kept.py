"""The last runs of the audit with their results, the latest first: in memory, and in a folder where there is one."""

from datetime import datetime
from pathlib import Path
from typing import Final, Literal
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct, field

from ordersaga.audit.finding import Finding
from ordersaga.messaging.errors import CannotStart
from ordersaga.said import Saying
from ordersaga.settings import ServiceName

log: Final = structlog.get_logger()

State = Literal["RUNNING", "STOPPING", "ENDED", "STOPPED", "FAILED"]
OVER: Final[tuple[State, ...]] = ("ENDED", "STOPPED", "FAILED")
SUFFIX: Final = ".json"
CUT_OFF: Final = "the process that ran it has ended; run it again"


class Run(Struct, kw_only=True):
    """One run. `findings`: the invariants that are judged so far; all of them, in the audit's order, once it is ENDED.

    `progress`: what the audit said last. `failure`: why it is FAILED.
    """

    id: UUID
    who: str
    unchanged_for_s: float
    services: list[ServiceName]
    began_at: datetime
    state: State = "RUNNING"
    ended_at: datetime | None = None
    progress: str = ""
    progress_said: tuple[Saying, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    stopped_by: str | None = None
    failure: str | None = None

    @property
    def is_over(self) -> bool:
        return self.state in OVER


_decoder: Final = msgspec.json.Decoder(Run)


class Kept:
    """At most `runs_max` runs; the oldest are forgotten. With a folder they outlive the process. Raises `CannotStart`."""

    def __init__(self, folder: Path | None, runs_max: int) -> None:
        self._folder: Final = folder
        self._runs_max: Final = runs_max
        self._runs: Final[dict[UUID, Run]] = {}
        if folder is not None:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                probe = folder / "probe.unfinished"
                probe.write_bytes(b"")
                probe.unlink()
                found = sorted(folder.glob(f"*{SUFFIX}"))  # an id sorts by its time
            except OSError as error:
                raise CannotStart(
                    f"the audit's results cannot be kept in {folder}: {error.strerror}; change ORDERSAGA_AUDIT_RUNS_PATH"
                ) from error
            for path in found:
                self._read(path)

    def _read(self, path: Path) -> None:
        try:
            run = _decoder.decode(path.read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("a result of the audit cannot be read and is left out", file=str(path), error=str(error))
            return
        self._runs[run.id] = run
        if not run.is_over:
            run.state, run.failure, run.ended_at = "FAILED", CUT_OFF, run.began_at
            self.write(run)

    def get(self, run_id: UUID) -> Run | None:
        return self._runs.get(run_id)

    def page(self, before: UUID | None, runs_max: int) -> list[Run]:
        """The runs that began before this one, or all, the latest first."""
        found = [each for each in reversed(self._runs.values()) if before is None or each.id < before]
        return found[:runs_max]

    def add(self, run: Run) -> None:
        """Keep a run that begins, and forget the oldest. A file that cannot be removed is left, and is read at the next start."""
        self._runs[run.id] = run
        self.write(run)
        for oldest in list(self._runs)[: -self._runs_max]:
            del self._runs[oldest]
            if self._folder is not None:
                path = self._folder / f"{oldest}{SUFFIX}"
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    log.error("an old result of the audit cannot be removed", file=str(path), error=str(error))

    def write(self, run: Run) -> None:
        """Write a run as it is now. A run that cannot be written is kept in memory."""
        if self._folder is None:
            return
        path = self._folder / f"{run.id}{SUFFIX}"
        try:
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes(msgspec.json.encode(run))
            unfinished.replace(path)
        except OSError as error:
            log.error("a result of the audit cannot be written", file=str(path), error=str(error))
