"""The runtime's promises about records. Each function yields the broken ones."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from ordersaga.contracts.codec import decode
from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.contracts.topics import DEAD_LETTER_SUFFIX, key_of
from ordersaga.messaging.handler import Record
from tests.simulation.database import OutboxWrite, Owner
from tests.simulation.plan import DELAYING
from tests.simulation.scheduler import START_S, Process
from tests.simulation.world import Handled, World

FRESH_S_MAX: Final = 2.0
"""The clock leaps only when no gate is open, so a process that has no timer to wait for handles a record within milliseconds."""


def took_effect_once(world: World, service: str, dead: set[Any]) -> Iterator[str]:
    """Each record took effect in one committed transaction, or is one dead letter."""
    times = Counter(each.record.coordinates for each in world.databases[service].committed if isinstance(each, Handled))
    for record in world.inputs(service):
        where = record.coordinates
        if times[where] + (where in dead) != 1:
            also = " and is a dead letter" if where in dead else ""
            yield f"{service}: {_at(where)} took effect {times[where]} times{also}"


def in_key_order(world: World, service: str, given_up: set[Any]) -> Iterator[str]:
    """Records of one partition and key take effect in their order, except dead letters that were replayed."""
    last: dict[Any, int] = {}
    for each in world.databases[service].committed:
        if isinstance(each, Handled) and each.record.coordinates not in given_up:
            key = (each.record.topic, each.record.partition, key_of(each.message))
            if each.record.offset < last.get(key, -1):
                yield f"{service}: {_at(each.record.coordinates)} took effect after offset {last[key]} of the same key"
            last[key] = each.record.offset


def fresh_are_prompt(world: World, service: str, given_up: set[Any]) -> Iterator[str]:
    """No fresh record waits longer than `FRESH_S_MAX`, whatever is parked and fails again meanwhile.

    Judged where no fault keeps the service from its records, and where a single process has all partitions: a process that was fenced off
    waits for seconds before it takes partitions again. Records behind a parked one of their key are not fresh. Turns that keep a distance
    may each have a single record here, as a fetch may: so each record that is handled meanwhile may cost that distance.
    """
    if world.plan.instances[service] > 1 or any(
        fault.service == service and fault.kind in DELAYING for fault in world.plan.faults
    ):
        return
    back_s = world.faults.back_at.get(service, START_S) - START_S
    parked = set()
    for record in world.inputs(service):
        if record.coordinates in world.faults.poison:
            parked.add(key_of(decode(record.topic, record.value)))
    handled = [each for each in world.databases[service].committed if isinstance(each, Handled)]
    for each in handled:
        if each.record.coordinates not in given_up:
            since_s = max(each.record.timestamp_ms / 1000, back_s)
            waited_s = each.at_s - since_s
            meanwhile = sum(since_s < other.at_s <= each.at_s for other in handled)
            limit_s = FRESH_S_MAX + meanwhile * world.apart_s.get(service, 0.0)
            if waited_s > limit_s and key_of(each.message) not in parked:
                yield f"{service}: {_at(each.record.coordinates)} was fresh and waited for {waited_s:.1f} s"


def committed_by_owners(world: World, service: str) -> Iterator[str]:
    """Only the process that took a partition last commits turns over it."""
    owners: dict[Any, Process] = {}
    for each in world.databases[service].committed:
        if not isinstance(each, Owner):
            continue
        for partition in sorted(each.partitions):
            if each.kind == "turn" and owners.get(partition) is not each.process:
                yield f"{service}: {each.process.name} commits a turn of {_at(partition)}, which somebody else has taken"
            owners[partition] = each.process


def published(world: World, service: str) -> Iterator[str]:
    """Each committed output has one message id and is in the log, always with the same content; no other record of ours is there."""
    rows: dict[bytes, Any] = {}
    for row in _outputs(world, service):
        of_row = str(row["message_id"]).encode()
        if of_row in rows and of_row not in world.log.refused:
            yield f"{service}: message {of_row.decode()} to {row['topic']} was committed twice"
        rows[of_row] = row
    seen: dict[bytes, Record] = {}
    for record, writer in world.log_with_writers():
        id = record.header(MESSAGE_ID)
        if id is None or not writer.startswith(service):
            continue
        if id not in rows:
            yield f"{service}: {_at(record.coordinates)} was published and never committed"
        first = seen.setdefault(id, record)
        if (first.topic, first.partition, first.key, first.value, first.headers) != (
            record.topic,
            record.partition,
            record.key,
            record.value,
            record.headers,
        ):
            yield f"{service}: {_at(record.coordinates)} repeats {_at(first.coordinates)} and differs"
    for id in rows.keys() - seen.keys():
        yield f"{service}: message {id.decode()} to {rows[id]['topic']} was committed and never published"


def _outputs(world: World, service: str) -> Iterator[Any]:
    for each in world.databases[service].committed:
        if isinstance(each, OutboxWrite):
            yield each.row


def first_publications_in_order(world: World, service: str) -> Iterator[str]:
    """First publications keep the key order of each input partition and output topic."""
    first: dict[bytes, int] = {}
    lost = {record.header(MESSAGE_ID) for record, _ in world.log.lost}
    without_place = (
        lost | world.log.refused | world.log.tried_alone
    )  # see `Publisher`: a record that was moved aside, or tried alone
    for record, writer in world.log_with_writers():
        id = record.header(MESSAGE_ID)
        if id is not None and writer != "again":
            first.setdefault(id, record.offset)
    last: dict[Any, int] = {}
    for row in _outputs(world, service):
        offset = first.get(str(row["message_id"]).encode())
        if row["source_topic"] is None or offset is None or str(row["message_id"]).encode() in without_place:
            continue
        queue = (row["source_topic"], row["source_partition"], row["topic"], row["key"])
        if offset < last.get(queue, -1):
            yield f"{service}: an output of {_at(queue[:2])} to {row['topic']} at {offset} overtook the one at {last[queue]}"
        last[queue] = offset


def only_poison_died(world: World, service: str, letters: list[Any]) -> Iterator[str]:
    """A dead letter is poisoned, undecodable or rejected; the dead letter topic has its record once, by message id."""
    for row in letters:
        where = place_of(row)
        if row["status"] == "REPLAYED":
            yield f"{service}: {_at(where)} was replayed, and nothing has come of it"
        if row["status"] == "DISCARDED":
            continue
        if row["cause"] == "Poisoned" and row["status"] == "OPEN" and not world.faults.poison.get(where, 0) > 0:
            yield f"{service}: {_at(where)} is a dead letter and was not poisoned for good"
        if row["cause"] not in ("Poisoned", "Undecodable", "Rejected"):
            yield f"{service}: {_at(where)} is a dead letter: {row['cause']}: {row['reason']}"
        ids = {
            r.header(MESSAGE_ID) for r in world.log.records_of(row["topic"] + DEAD_LETTER_SUFFIX) if _is_of(r, where)
        }
        if ids != {
            str(each["id"]).encode() for each in letters if place_of(each) == where and each["cause"] != "Discarded"
        }:
            yield f"{service}: {_at(where)} has {len(ids)} different dead letters"


def refused_are_letters(world: World, service: str, letters: list[Any]) -> Iterator[str]:
    """Each record that Kafka refused for good is in the table of dead letters. Here only dead letter topics refuse."""
    ids = {str(each["id"]).encode() for each in letters}
    ours = {str(row["message_id"]).encode() for row in _outputs(world, service)}
    for id in sorted((world.log.refused & ours) - ids):
        yield f"{service}: message {id.decode()} was refused, and is no dead letter"


def _is_of(letter: Record, where: Any) -> bool:
    return (
        letter.partition == where[1]
        and int.from_bytes(letter.header("kafka_dlt-original-offset") or b"", "big") == where[2]
    )


def place_of(row: Any) -> tuple[str, int, int]:
    return row["topic"], row["partition"], row["record_offset"]


def _at(where: Any) -> str:
    return "/".join(map(str, where))
