"""What lies between the services in their databases: outboxes, parked records, dead letters."""

from collections import Counter
from datetime import timedelta
from typing import Final

from msgspec import Struct, field

from ordersaga.audit.finding import Finding, Moment, ago
from ordersaga.audit.sources import Sources, stream
from ordersaga.messaging.database import Connection, queries
from ordersaga.settings import ServiceName

sql: Final = queries(__file__)

RETRY_GRACE: Final = timedelta(seconds=60)


class Outboxes(Struct):
    """The finding, which service has records for which topic that are not published, and which of them are late."""

    finding: Finding
    unsent: set[tuple[ServiceName, str]] = field(default_factory=set)
    late: set[tuple[ServiceName, str]] = field(default_factory=set)


async def outboxes(sources: Sources, adopt_after: timedelta, moment: Moment) -> Outboxes:
    """Committed records that are not yet known to be published; recent ones are in flight."""
    found = Outboxes(Finding("every committed record is published", unit="outboxes"))
    finding = found.finding
    for service in sources.db:
        async with sources.guarded(service, finding) as db:
            rows = await sql.outbox_rows(db)
            finding.count += 1
            for row in rows:
                found.unsent.add((service, row["topic"]))
                written_at = row["oldest"] - adopt_after
                what = (
                    f"{service}: {row['rows']} records for {row['topic']}, the oldest {ago(moment.now, written_at)} old"
                )
                if row["oldest"] > moment.cutoff:
                    finding.waits(what)
                else:
                    found.late.add((service, row["topic"]))
                    finding.breaks(what)
    return found


async def given_up(sources: Sources, moment: Moment) -> tuple[Finding, Finding]:
    """The dead letters and the parked records of all services."""
    letters = Finding("each dead letter is accounted for", unit="dead letters")
    queues = Finding("each parked record will be tried again", unit="parked records")
    counts: Counter[str] = Counter()
    for service in sources.db:
        async with sources.guarded(service, letters) as db:
            await dead_letters(service, db, letters, counts)
        async with sources.guarded(service, queues) as db:
            await parked(service, db, queues, moment)
    if counts:
        known = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
        letters.unit = f"dead letters ({known})"
    return letters, queues


async def dead_letters(service: str, db: Connection, finding: Finding, counts: Counter[str]) -> None:
    """Records given up, counted by what has become of them; the open ones are listed, for somebody has to look at them.

    One that was put back must be in the parking or done with, one that gave way must have its successor, and one that was discarded
    somebody who did it.
    """
    for row in await sql.dead_letter_rows(db):
        finding.count += row["rows"]
        counts[row["status"]] += row["rows"]
        if row["status"] in ("OPEN", "REPLAYED"):
            finding.waits(f"{service}: {row['rows']} {row['status']} of {row['topic']}, {row['cause']}")
    async for row in stream(db, sql.lost_dead_letters):
        place = f"{row['topic']}/{row['partition']}/{row['record_offset']}"
        finding.breaks(f"{service}: {row['id']} of {place} is {row['status']}, {row['problem']}")


async def parked(service: str, db: Connection, finding: Finding, moment: Moment) -> None:
    """Records whose handling failed and is tried again: listed; a queue that nobody tries, now or ever, is lost."""
    async for row in stream(db, sql.parked_rows):
        finding.count += row["rows"]
        what = f"{service}: {row['rows']} behind and with {row['topic']}/{row['partition']}/{row['record_offset']}"
        if row["due_at"] is None:
            finding.breaks(f"{what}, which has no time for its next try")
        elif row["due_at"] < moment.cutoff - RETRY_GRACE:
            finding.breaks(f"{what}, which was to be tried {ago(moment.now, row['due_at'])} ago and was not")
        else:
            finding.waits(f"{what}, tried {row['attempts']} times, {row['cause']}")
