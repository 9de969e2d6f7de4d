"""Runs the audit for its HTTP face: one run at a time, in a thread of its own, so that judging many orders delays no answer."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from ordersaga.audit.kept import Kept, Run, State
from ordersaga.audit.verify import verify
from ordersaga.masking import masked
from ordersaga.messaging.acts import STALE, NotPossible
from ordersaga.messaging.health import Alarms, Health, Trouble
from ordersaga.said import Said, Saying, say, sayings_of
from ordersaga.settings import SERVICES, ServiceName, Settings

log: Final = structlog.get_logger()

SAY_EVERY_S: Final = 0.3
STOP_WITHIN_S: Final = 5.0
BUSY: Final = "The audit is running already"


class Auditor:
    """Starts and stops runs, and reports the health of the process: an invariant that the latest run found broken is an alarm."""

    def __init__(
        self, settings: Settings, kept: Kept, clock: Callable[[], datetime], new_id: Callable[[], UUID]
    ) -> None:
        self.settings: Final = settings
        self.kept: Final = kept
        self.ours: Final = [name for name in SERVICES if name not in settings.foreign_partners]
        self._clock: Final = clock
        self._new_id: Final = new_id
        self._alarms: Final = Alarms(clock)
        self._work: _Work | None = None
        self._tell()

    def start(self, who: str, unchanged_for_s: float, only: Sequence[ServiceName] | None) -> Run:
        """Begin a run. Raises `NotPossible` while another one goes on."""
        if self._work is not None and not self._work.run.is_over:
            raise NotPossible("wait until it has ended, or stop it", title=BUSY)
        services = self.ours if only is None else [name for name in SERVICES if name in only]
        run = Run(
            id=self._new_id(), who=who, unchanged_for_s=unchanged_for_s, services=services, began_at=self._clock()
        )
        self.kept.add(run)
        self._work = _Work(self.settings, run, self._clock, self._ended)
        return run

    def stop(self, run: Run, version: str, who: str) -> None:
        """Stop a run that goes on. Raises `NotPossible` if it has ended, or has another state than the caller saw."""
        if self._work is None or version != "RUNNING" or not self._work.stop(run, who):
            raise NotPossible(f"the run is {run.state} now; look at it again", title=STALE)

    def close(self) -> None:
        """Stop what goes on, before the process ends. Blocks for a moment."""
        if self._work is not None:
            self._work.stop(self._work.run, None)
            self._work.join(STOP_WITHIN_S)

    def _ended(self, run: Run) -> None:
        self.kept.write(run)
        log.info("the audit has ended", state=run.state, broken=sum(each.broken_count for each in run.findings))
        self._tell()

    def _tell(self) -> None:
        """Raise the alarm for the latest run that came to its end."""
        run = next(
            (each for each in self.kept.page(None, self.settings.audit_runs_kept) if each.state == "ENDED"), None
        )
        broken = [each for each in run.findings if each.outcome == "broken"] if run else []
        trouble = Trouble(
            Said(
                f"broken: {'; '.join(each.invariant for each in broken)}",
                [Saying(f"audit.invariant.{each.code}") for each in broken],
            ),
            say("todo.audit", "look at the run in the console, or run `ordersaga verify`"),
        )
        self._alarms.tell("audit", "", trouble if broken else None, run.ended_at if run else None)

    async def health(self) -> Health:
        return Health(alarms=self._alarms.now())

    def dead(self) -> list[str]:
        return []


class _Work:
    """One run in its thread, with an event loop of its own."""

    def __init__(
        self, settings: Settings, run: Run, clock: Callable[[], datetime], ended: Callable[[Run], None]
    ) -> None:
        self.run: Final = run
        self._settings: Final = settings
        self._clock: Final = clock
        self._ended: Final = ended
        self._state: Final = threading.Lock()
        self._loop: Final = asyncio.new_event_loop()
        self._task: Final = self._loop.create_task(self._judge())
        self._thread: Final = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    def stop(self, run: Run, who: str | None) -> bool:
        """Stop the run, if it is this one and goes on. Returns whether it does."""
        with self._state:
            if run is not self.run or run.state != "RUNNING":
                return False
            run.state, run.stopped_by = "STOPPING", who
            self._loop.call_soon_threadsafe(self._task.cancel)
            return True

    def join(self, within_s: float) -> None:
        self._thread.join(within_s)

    def _work(self) -> None:
        state, failure = self._outcome()
        with self._state:
            self.run.state, self.run.failure, self.run.ended_at = state, failure, self._clock()
        self._ended(self.run)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _outcome(self) -> tuple[State, str | None]:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return "STOPPED", None
        except Exception as error:  # none is expected: what does not answer is a finding
            log.error("the audit failed", exc_info=error)
            return "FAILED", masked(f"{type(error).__name__}: {error}")
        return "ENDED", None

    async def _judge(self) -> None:
        run = self.run
        run.findings = await verify(
            self._settings, run.unchanged_for_s, run.services, self._say, SAY_EVERY_S, run.findings.append
        )

    def _say(self, what: str) -> None:
        self.run.progress, self.run.progress_said = str(what), sayings_of(what)
