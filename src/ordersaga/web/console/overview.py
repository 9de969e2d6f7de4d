"""What needs attention now, the worst first, from one reading of all services. Pure."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlencode

from msgspec import Struct

from ordersaga.messaging.stalls import AWAY
from ordersaga.operations.flow_resources import FlowMoment
from ordersaga.operations.parked_resources import QueueResource
from ordersaga.said import Saying
from ordersaga.web.console.flow import LAG_BAD, gateway_state
from ordersaga.web.console.gateway import MINUTES
from ordersaga.web.console.rates import lag_of
from ordersaga.web.console.snapshot import ServiceView, Snapshot

OUTBOX_OLD_S: Final = 10.0
PAUSED: Final = "partition paused"
WAITS_LONG: Final = timedelta(minutes=15)
BEHIND_FOR: Final = timedelta(seconds=25)

Level = Literal["bad", "few"]


class Concern(Struct, frozen=True):
    """Something that needs attention. `text`: the end of a key `console.concern.…`; `values` fill the text in. `said`: the service's own words, and
    `sayings` the codes of its sentences; `where`: the partition, topic or loop that they are about.

    `since`: when it began; None: not shown.
    """

    level: Level
    text: str
    values: dict[str, str | int]
    href: str
    said: str = ""
    sayings: Sequence[Saying] = ()
    where: str = ""
    since: datetime | None = None


class CauseRow(Struct, frozen=True):
    """Dead letters or parked records of one service, topic and cause."""

    service: str
    topic: str
    cause: str
    records: int
    reason: str
    href: str
    said: Sequence[Saying] = ()


def concerns(snapshot: Snapshot) -> list[Concern]:
    """All that needs attention; empty: all is well."""
    found: list[Concern] = []
    away_since = snapshot.kafka_away_since
    if away_since:
        found.append(Concern("bad", "kafka", {}, "#services", since=away_since))
    for view in snapshot.services.values():
        if not view.foreign:
            found += _of_service(view, is_told={AWAY} if away_since else set())
    state, lately = gateway_state(snapshot), snapshot.services["payment"].gateway
    if state == "degraded":
        found.append(Concern("bad", "gateway", {}, "#flow"))
    elif state == "poor" and lately:
        values: dict[str, str | int] = {
            "count": lately.confirms,
            "minutes": MINUTES,
            "unclear": lately.percent(lately.unclear),
            "slow": lately.percent(lately.slow),
        }
        found.append(Concern("few", "gateway_poor", values, "/console/history"))
    for each in snapshot.audit.alarms if snapshot.audit else ():
        words = each.what.removeprefix("broken: ")
        found.append(Concern("bad", "audit", {}, "/console/audit", words, each.what_said))
    oldest = snapshot.orders.oldest if snapshot.orders else None
    if oldest and snapshot.at - oldest.placed_at > WAITS_LONG:
        found.append(Concern("few", "order", {"name": oldest.order_name}, f"/console/orders/{oldest.order_id}"))
    return sorted(found, key=lambda each: each.level)


def _of_service(view: ServiceView, is_told: AbstractSet[str]) -> list[Concern]:
    """What needs attention at one service. `is_told`: alarms that are one line for all services."""
    name = view.name
    if view.health is None:
        return [Concern("bad", "down", {"service": name}, "#services")]
    found: list[Concern] = []
    problems = view.health.problems
    for each, sayings in zip(problems, view.health.problem_codes or [()] * len(problems), strict=False):
        found.append(Concern("bad", "problem", {"service": name}, "#services", each, sayings))
    for text, state in (("stopped", "STOPPED"), ("unread", "NOT_ASSIGNED")):
        if count := sum(read.states[state] for read in (view.topics or {}).values()):
            found.append(Concern("bad", text, {"service": name, "count": count}, f"/console/topics?service={name}"))
    if paused := sum(read.states["PAUSED"] for read in (view.topics or {}).values()):
        values: dict[str, str | int] = {"service": name, "count": paused}
        told = [each for each in view.health.alarms if each.alarm == PAUSED]
        words = (told[0].what, told[0].what_said, told[0].where) if len(told) == 1 else ()
        found.append(Concern("few", "paused", values, f"/console/topics?service={name}", *words))
    if behind := _falls_behind(view.moments):
        values = {"service": name, "count": behind}
        found.append(Concern("few", "behind", values, f"/console/topics?service={name}"))
    if letters := sum(each.letters for each in (view.causes.items if view.causes else ())):
        found.append(Concern("bad", "letters", {"service": name, "count": letters}, f"/console/letters?service={name}"))
    if view.parked:
        records = sum(each.records for each in view.parked)
        found.append(Concern("few", "parked", {"service": name, "count": records}, f"/console/parked?service={name}"))
    if view.outbox and view.outbox.oldest_age_s > OUTBOX_OLD_S:
        values = {"service": name, "count": view.outbox.rows}
        found.append(Concern("bad", "outbox", values, "#services"))
    for alarm in view.health.alarms:
        if alarm.alarm not in {"gateway", "parked", "dead letters", *is_told} and not (
            paused and alarm.alarm == PAUSED
        ):
            found.append(
                Concern("few", "alarm", {"service": name}, "#services", alarm.what, alarm.what_said, alarm.where)
            )
    return found


def _falls_behind(moments: Sequence[FlowMoment]) -> int:
    """How many records the service is behind, if they are many and more than they were `BEHIND_FOR` ago; otherwise 0."""
    known = [(each.at, lag) for each in moments if (lag := lag_of(each)) is not None]
    before = [lag for at, lag in known if known[-1][0] - at >= BEHIND_FOR]
    return known[-1][1] if before and known[-1][1] >= max(LAG_BAD, before[-1] + 1) else 0


def causes(snapshot: Snapshot) -> list[CauseRow]:
    """Dead letters by service, topic and cause, the most first."""
    rows = [
        CauseRow(
            view.name,
            each.topic,
            each.cause,
            each.letters,
            each.last_reason,
            _letters(view.name, each.topic, each.cause),
            each.last_said,
        )
        for view in snapshot.services.values()
        for each in (view.causes.items if view.causes else ())
    ]
    return sorted(rows, key=lambda each: -each.records)


def parked(snapshot: Snapshot) -> list[CauseRow]:
    """Parked records by service, topic and cause, the most first."""
    groups: dict[tuple[str, str, str], list[QueueResource]] = {}
    for view in snapshot.services.values():
        for each in view.parked or ():
            groups.setdefault((view.name, each.topic, each.cause or "?"), []).append(each)
    rows = [
        CauseRow(
            *key,
            sum(each.records for each in several),
            several[-1].reason or "",
            f"/console/parked?{urlencode({'service': key[0], 'topic': key[1]})}",
            several[-1].said,
        )
        for key, several in groups.items()
    ]
    return sorted(rows, key=lambda each: -each.records)


def _letters(service: str, topic: str, cause: str) -> str:
    return "/console/letters?" + urlencode({"service": service, "topic": topic, "cause": cause})
