"""Decoding records, and giving records up: an error in the content of one record concerns that record only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.messaging import dead_letters, outbox_rows
from ordersaga.messaging.database import Connection
from ordersaga.messaging.dead_letters import DeadLetter
from ordersaga.messaging.handler import Incoming, Record, Rejected
from ordersaga.messaging.message_ids import MessageIds
from ordersaga.messaging.outbox_rows import OutboxRow

log: Final = structlog.get_logger()

UNDECODABLE: Final = "Undecodable"
REJECTED: Final = "Rejected"


class GivenUp(Struct, frozen=True):
    """A record that is given up, with its reason, the class of the error, and the number of attempts."""

    rejected: Rejected
    cause: str
    attempts: int = 1


def decoded(records: Sequence[Record]) -> tuple[list[Incoming], list[Rejected]]:
    """The decoded messages, and the records that cannot be decoded."""
    incoming, undecodable = [], []
    for record in records:
        try:
            if record.flaw is not None:
                raise Undecodable(record.flaw)
            incoming.append(Incoming(decode(record.topic, record.value), record))
        except Undecodable as error:
            undecodable.append(Rejected(record, str(error)))
        except MemoryError:
            raise
        except Exception as error:
            undecodable.append(Rejected(record, f"the value cannot be decoded: {type(error).__name__}: {error}"))
    return incoming, undecodable


def bare(record: Record) -> Record:
    """The record without its headers, for a record whose headers cannot be stored."""
    return replace(record, headers=None)


async def give_up(
    db: Connection, given_up: Sequence[GivenUp], ids: MessageIds, block: int, group: str, now: datetime
) -> list[OutboxRow]:
    """Add these records as dead letters in the caller's transaction; returns their outbox rows, with ids from `block` on."""
    letters = [_letter(each, ids) for each in given_up]
    await dead_letters.add(db, letters, now)
    return [outbox_rows.letter_row(each, block + n, group) for n, each in enumerate(letters)]


def _letter(given_up: GivenUp, ids: MessageIds) -> DeadLetter:
    record, reason = given_up.rejected.record, given_up.rejected.reason
    at = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    log.warning("a record is a dead letter", **at, cause=given_up.cause, reason=reason, attempts=given_up.attempts)
    message_id, causation_id, traceparent = ids.of_record(record, -given_up.attempts)
    return DeadLetter(message_id, causation_id, traceparent, record, given_up.cause, reason, given_up.attempts)
