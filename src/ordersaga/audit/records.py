"""Judges the runtime's tables in each service's database: outboxes, dead letters, parked records."""

from collections import Counter
from datetime import timedelta
from typing import Final

from msgspec import Struct, field

from ordersaga.audit.finding import CLOCKS_APART, Finding, Moment
from ordersaga.audit.sources import Sources, stream
from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.said import say
from ordersaga.settings import ServiceName

sql: Final = queries(__file__)

RETRY_GRACE: Final = timedelta(seconds=60)
LOST: Final = {
    "REPLAYED": say("audit.letters.not_parked", "and is not in the parking"),
    "SUPERSEDED": say("audit.letters.no_follower", "and no letter follows it"),
}
NOBODY: Final = say("audit.letters.nobody", "and no operator has said why")
"""What is wrong with a dead letter whose status is not in `LOST`."""


class Outboxes(Struct):
    """The finding. `unsent`: pairs of service and topic with unpublished records. `late`: those pairs whose records are too old to be in
    flight."""

    finding: Finding
    unsent: set[tuple[ServiceName, str]] = field(default_factory=set)
    late: set[tuple[ServiceName, str]] = field(default_factory=set)


async def outboxes(sources: Sources, adopt_after: timedelta, moment: Moment) -> Outboxes:
    """Find committed records that Kafka has not acknowledged. Recent ones are in flight."""
    found = Outboxes(Finding("every committed record is published", "published", unit="outboxes"))
    finding = found.finding
    for service in sources.db:
        async with sources.guarded(service, finding) as db:
            rows = await sql.outbox_rows(db)
            finding.count += 1
            for row in rows:
                found.unsent.add((service, row["topic"]))
                written_at = row["oldest"] - adopt_after
                what = f"{service}: " + say(
                    "audit.published.waiting",
                    "{count} {count:record|records} for {topic}, the oldest {age} old",
                    count=row["rows"],
                    topic=row["topic"],
                    age=moment.now - written_at,
                )
                if row["latest"] > moment.now + adopt_after + CLOCKS_APART:
                    found.late.add((service, row["topic"]))
                    finding.breaks(
                        what
                        + say(
                            "audit.published.not_before", "; no instance takes one over before {at}", at=row["latest"]
                        )
                    )
                elif row["oldest"] > moment.cutoff:
                    finding.waits(what)
                else:
                    found.late.add((service, row["topic"]))
                    finding.breaks(what)
    return found


async def dead_letters(sources: Sources) -> Finding:
    """Judge the dead letters of all services."""
    finding = Finding("each dead letter is accounted for", "letters", unit="dead letters")
    counts: Counter[str] = Counter()
    for service in sources.db:
        async with sources.guarded(service, finding) as db:
            await judge_letters(service, db, finding, counts)
    if counts:
        known = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
        finding.unit = f"dead letters ({known})"
    return finding


async def judge_letters(service: str, db: Connection, finding: Finding, counts: Counter[str]) -> None:
    """Count one service's dead letters by status, and list those that are OPEN or REPLAYED.

    A REPLAYED letter must be parked or on its way to Kafka. A SUPERSEDED letter must have a follower. A letter that an operator decided on
    must have an operator's act.
    """
    for row in await sql.dead_letter_rows(db):
        finding.count += row["rows"]
        counts[row["status"]] += row["rows"]
        if row["status"] in ("OPEN", "REPLAYED"):
            finding.waits(
                f"{service}: "
                + say(
                    "audit.letters.open",
                    "{count} {status} of {topic}, {cause}",
                    count=row["rows"],
                    status=row["status"],
                    topic=row["topic"],
                    cause=row["cause"],
                )
            )
    async for row in stream(db, sql.lost_dead_letters):
        position = f"{row['topic']}/{row['partition']}/{row['record_offset']}"
        what = say(
            "audit.letters.lost",
            "{letter} of {place} is {status}, ",
            letter=row["id"],
            place=position,
            status=row["status"],
        )
        finding.breaks(f"{service}: " + what + LOST.get(row["status"], NOBODY))


async def parked(sources: Sources, retry_wait_max: timedelta, moment: Moment) -> Finding:
    """Judge the queues of parked records of all services."""
    finding = Finding("each parked record will be tried again", "parked", unit="parked records")
    for service in sources.db:
        async with sources.guarded(service, finding) as db:
            await judge_queues(service, db, finding, retry_wait_max, moment)
    return finding


async def judge_queues(
    service: str, db: Connection, finding: Finding, retry_wait_max: timedelta, moment: Moment
) -> None:
    """The first record of each queue must be due, now or within `retry_wait_max`. The others wait behind it."""
    async for row in stream(db, sql.parked_rows):
        finding.count += row["rows"]
        due_at = row["due_at"]
        what = f"{service}: " + say(
            "audit.parked.queue",
            "{count} behind and with {place}",
            count=row["rows"],
            place=f"{row['topic']}/{row['partition']}/{row['record_offset']}",
        )
        if due_at is None:
            finding.breaks(what + say("audit.parked.never", ", which has no time for its next try"))
        elif due_at < moment.cutoff - RETRY_GRACE:
            finding.breaks(
                what
                + say("audit.parked.late", ", which was to be tried {age} ago and was not", age=moment.now - due_at)
            )
        elif due_at > moment.now + retry_wait_max + CLOCKS_APART:
            finding.breaks(what + say("audit.parked.far", ", which is not tried before {at}", at=due_at))
        else:
            finding.waits(
                what
                + say(
                    "audit.parked.tried",
                    ", tried {count} {count:time|times}, {cause}",
                    count=row["attempts"],
                    cause=str(row["cause"]),
                )
            )
