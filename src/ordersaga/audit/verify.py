"""Takes the snapshots and judges every invariant. If one invariant cannot be judged, the others still are."""

import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ordersaga.audit import completions, orders, partitions, predecessors, records, shelf
from ordersaga.audit.agreement import Unheard
from ordersaga.audit.books import books
from ordersaga.audit.facts import GRACE
from ordersaga.audit.finding import Finding, Moment
from ordersaga.audit.letters import LettersInKafka
from ordersaga.audit.predecessors import Predecessor
from ordersaga.audit.sources import Sources, in_words, snapshots, stream
from ordersaga.contracts.messages import OrderPayableMessage, PaymentCancelledMessage, PaymentSuccessMessage
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.database import DATABASE_ERRORS
from ordersaga.messaging.kafka import KafkaUnavailable
from ordersaga.messaging.queries import queries
from ordersaga.said import say
from ordersaga.settings import SERVICES, ServiceName, Settings

sql: Final = queries(__file__)

PAID_TOPIC: Final = BY_MESSAGE[PaymentSuccessMessage].name
REFUNDED_TOPIC: Final = BY_MESSAGE[PaymentCancelledMessage].name
PAYABLE_TOPIC: Final = BY_MESSAGE[OrderPayableMessage].name
PRUNED_EARLY: Final = timedelta(hours=1)
"""A service whose clock is ahead may prune a timeline this much earlier than the audit expects."""
INTENT_WAIT_MAX: Final = timedelta(hours=1)
"""An intent is never put off for longer: Retry-After and back-off are shorter."""
RETRY_WAIT_MAX: Final = timedelta(days=365)
SAY_EVERY_S: Final = 5.0

Say = Callable[[str], None]
Progress = Callable[[str, str, int], None]
"""Takes the code and the text of a saying, and its `count`."""


async def verify(
    settings: Settings,
    unchanged_for_s: float = 0.0,
    only: Collection[ServiceName] | None = None,
    tell: Say = lambda _: None,
    say_every_s: float = SAY_EVERY_S,
    judged: Callable[[Finding], None] = lambda _: None,
) -> list[Finding]:
    """Judge every invariant.

    `only`: the services whose databases are ours to read; None: all but those of foreign partners. `tell` is called every
    `say_every_s` with the audit's progress, and `judged` with each invariant once it is judged.

    `unchanged_for_s` 0 judges a system at rest: nothing may be in flight. More judges a live system: orders and records that changed within
    so many seconds are in flight, and are named as such. Each database is read in one snapshot; Kafka and the gateway's books are read
    after the snapshots were taken. A database, Kafka or gateway that does not answer makes invariants unknown and raises nothing.
    """
    moment = Moment(datetime.now(UTC), unchanged_for_s)
    progress = _every(say_every_s, tell)
    ours = [name for name in SERVICES if name not in settings.foreign_partners] if only is None else only
    async with snapshots(settings, ours) as sources:

        def done(*findings: Finding) -> list[Finding]:
            for finding in findings:
                judged(finding)
            return list(findings)

        def done_for_all(finding: Finding) -> list[Finding]:
            _say_missing(sources, finding, SERVICES)
            return done(finding)

        outboxes = await records.outboxes(sources, timedelta(milliseconds=settings.outbox_adopt_after_ms), moment)
        of_each = done_for_all(outboxes.finding)
        handled = await _handled(settings, sources, moment)
        of_each += done_for_all(handled.finding)
        found = done(await shelf.stock(sources))
        before = await _predecessors(sources)
        found += done(*await _orders(settings, sources, moment, _unheard(moment, outboxes, handled), before, progress))
        topic = shelf.PRICE_TOPIC
        is_behind = ("order", topic) in handled.behind or ("stock", topic) in outboxes.unsent
        found += done(await shelf.prices(sources, moment, is_behind))
        found += done(await _settled(settings, sources, moment))
        found += done(await books(settings, sources, moment, before.get("payment"), progress))
        letters = await records.dead_letters(sources)
        await LettersInKafka(settings, sources, moment, letters).judge(progress)
        of_each += done_for_all(letters)
        of_each += done_for_all(await records.parked(sources, _retry_wait_max(settings), moment))
    return found + of_each


def _retry_wait_max(settings: Settings) -> timedelta:
    """The longest time that a parked record waits for its next try."""
    wait = timedelta(milliseconds=settings.park_backoff_ms)
    for _ in range(min(settings.park_attempts_max, 16)):
        wait = min(2 * wait, RETRY_WAIT_MAX)
    return wait


def _every(seconds: float, tell: Say) -> Progress:
    told_at = time.monotonic()

    def progress(code: str, text: str, count: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at > seconds:
            told_at = time.monotonic()
            tell(say(code, text, count=f"{count:,}"))

    return progress


async def _handled(settings: Settings, sources: Sources, moment: Moment) -> partitions.Handled:
    """Read the ledgers, then Kafka. In the other order, a position could lie past the end that Kafka told earlier."""
    ledgers: dict[ServiceName, Any] = {}
    finding = partitions.finding()
    for service in sources.db:
        async with sources.guarded(service, finding) as db:
            ledgers[service] = await sql.ledger_rows(db)
    return await partitions.handled(settings, ledgers, moment, finding)


def _unheard(moment: Moment, outboxes: records.Outboxes, handled: partitions.Handled) -> Unheard:
    if moment.at_rest:
        return Unheard(moment.now)
    return Unheard(
        moment.cutoff,
        payments=("payment", PAID_TOPIC) in outboxes.late or ("order", PAID_TOPIC) in handled.late,
        refunds=("payment", REFUNDED_TOPIC) in outboxes.unsent or ("order", REFUNDED_TOPIC) in handled.behind,
        payables=("order", PAYABLE_TOPIC) in outboxes.unsent or ("payment", PAYABLE_TOPIC) in handled.behind,
    )


async def _orders(
    settings: Settings,
    sources: Sources,
    moment: Moment,
    unheard: Unheard,
    before: dict[ServiceName, Predecessor],
    progress: Progress,
) -> list[Finding]:
    log: completions.Log | None = None
    trouble = None
    if "order" in sources.db:
        try:
            log = await completions.read(settings, progress)
        except (KafkaUnavailable, sqlite3.Error) as error:
            trouble = say("audit.topic", "{topic}: {error}", topic=completions.COMPLETED_TOPIC, error=in_words(error))
    whole_since = moment.now - timedelta(days=settings.history_kept_days) + PRUNED_EARLY
    audit = orders.OrderAudit(moment, log, unheard, whole_since, before)
    if trouble is not None:
        audit.recorded.unknown(trouble)
    with contextlib.closing(log) if log is not None else contextlib.nullcontext():
        lacking = [finding for finding in audit.findings if sources.lacks(finding, "order")]
        if not lacking:
            await _judge_orders(sources, audit, log, progress)
        audit.finish()
    return audit.findings


async def _predecessors(sources: Sources) -> dict[ServiceName, Predecessor]:
    """The consumer groups that services took over from. A database error here is met again, and named, where the rows are read."""
    found: dict[ServiceName, Predecessor] = {}
    for service in predecessors.LAST_AT:
        with contextlib.suppress(*DATABASE_ERRORS):
            if service in sources.db and (row := await sql.predecessor(sources.db[service])) is not None:
                found[service] = Predecessor(row["name"], row["handled_until"])
    return found


async def _judge_orders(
    sources: Sources, audit: orders.OrderAudit, log: completions.Log | None, progress: Progress
) -> None:
    touched = [audit.completed, audit.given_back, audit.agreed, audit.known]
    for finding in touched:
        _say_missing(sources, finding, ("stock", "payment", "delivery"))
    trouble: list[str] = []
    count = 0
    try:
        async with contextlib.AsyncExitStack() as stack:
            for db in sources.db.values():
                await stack.enter_async_context(db.transaction())
            streams = [
                _rows(sources, trouble, "order", sql.orders),
                _rows(sources, trouble, "stock", sql.reservations),
                _rows(sources, trouble, "payment", sql.payments),
                _rows(sources, trouble, "payment", sql.payables),
                _rows(sources, trouble, "delivery", sql.deliveries),
                None if log is None else log.by_order(),
                _rows(sources, trouble, "order", sql.unpublished, completions.COMPLETED_TOPIC),
            ]
            async for order_id, rows in orders.by_order(streams):
                audit.judge(order_id, rows)
                count += 1
                progress("audit.doing.orders", "{count} {count:order|orders} judged", count)
            async for orphan in stream(sources.db["order"], sql.orphans):
                audit.told.breaks(
                    f"{orphan['order_id']}: "
                    + say("audit.told.orphan", "{what}, and no order has this id", what=orphan["what"])
                )
    except (*DATABASE_ERRORS, sqlite3.Error) as error:
        for finding in audit.findings:
            why = trouble[0] if trouble else sources.why_any(error)
            finding.unknown(say("audit.after_orders", "after {count} {count:order|orders}: ", count=f"{count:,}") + why)
    for problem in log.problems if log is not None else ():
        audit.recorded.unknown(problem)


async def _named(
    rows: AsyncIterator[Any], sources: Sources, service: ServiceName, trouble: list[str]
) -> AsyncIterator[Any]:
    """The rows. On a database error `trouble` gets the service's name and the reason."""
    try:
        async for row in rows:
            yield row
    except DATABASE_ERRORS as error:
        trouble.append(sources.why(service, error))
        raise


def _rows(
    sources: Sources, trouble: list[str], service: ServiceName, query: Any, *parameters: Any
) -> AsyncIterator[Any] | None:
    if service not in sources.db:
        return None
    return _named(stream(sources.db[service], query, *parameters), sources, service, trouble)


def _say_missing(sources: Sources, finding: Finding, services: Collection[ServiceName]) -> None:
    """Note in the finding which of the services it is judged without."""
    for service in services:
        if service in sources.away:
            finding.unknown(sources.away[service])
        elif service not in sources.only:
            finding.notes_that(
                say(
                    "audit.without",
                    "without {service}, which is not ours (--only, or FOREIGN_PARTNERS)",
                    service=service,
                )
            )


async def _settled(settings: Settings, sources: Sources, moment: Moment) -> Finding:
    """Open payments and the intents that will settle them, in Payment's database alone."""
    finding = Finding("every open payment has an intent that will settle it", "settled", unit="open intents")
    far = moment.now + INTENT_WAIT_MAX + timedelta(milliseconds=settings.recovery_after_ms)
    if not sources.lacks(finding, "payment"):
        async with sources.guarded("payment", finding) as db:
            finding.count = await sql.open_intents(db)
            async for row in stream(db, sql.unsettled, moment.cutoff - GRACE, far):
                finding.breaks(
                    f"{row['payment_key']} of order {row['order_id']}: "
                    + say("audit.settled.open", "{status} {problem}", status=row["status"], problem=row["problem"])
                )
    return finding
