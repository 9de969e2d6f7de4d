"""The types of a handler. A handler takes a `Batch` of decoded messages, changes the database, and returns the messages to publish.

@consumes(StockDecreaseRequestMessage, StockRollbackRequestedMessage)
async def handle(batch: Batch, db: Connection) -> list[Outgoing]: ...
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.headers import CAUSATION_ID, MESSAGE_ID
from ordersaga.contracts.messages import Message
from ordersaga.contracts.topics import BY_MESSAGE, Topic, key_of
from ordersaga.messaging.database import Connection
from ordersaga.messaging.texts import storable
from ordersaga.said import say, words_of

CAUSATION_CHARS_MAX: Final = 200


class Coordinates(NamedTuple):
    """A record's topic, partition and offset, which name it in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Record(Struct, frozen=True, gc=False):
    """A Kafka record."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] | None
    timestamp_ms: int
    flaw: str | None = None
    """Why the client could not read the whole record; the other fields hold what it could read."""

    @property
    def coordinates(self) -> Coordinates:
        return Coordinates(self.topic, self.partition, self.offset)

    def header(self, name: str) -> bytes | None:
        """The last value of a header; None if there is none."""
        return dict(self.headers or ()).get(name)


class Incoming(Struct, frozen=True, gc=False, eq=False):
    """A record and the message decoded from it."""

    message: Message
    record: Record

    @property
    def key(self) -> UUID:
        """The business key, such as the order id. Taken from the message, since records of Java services may have no key."""
        return key_of(self.message)

    @property
    def causation_id(self) -> str | None:
        """The header `causation-id`: the `message-id` of the record that this one answers. Java services do not send it."""
        return self._named_by(CAUSATION_ID)

    @property
    def message_id(self) -> str | None:
        """The header `message-id`. Frameworks that copy a request's headers to its answer send the request's own id here."""
        return self._named_by(MESSAGE_ID)

    def _named_by(self, header: str) -> str | None:
        said = self.record.header(header)
        return storable(said.decode(errors="replace"), CAUSATION_CHARS_MAX) if said else None


class Outgoing(Struct, frozen=True, gc=False):
    """A message to publish on its topic. `cause`: the incoming message that led to it; None for HTTP and timers.

    A sender that must recognise the answer by its `causation-id` gives a `message_id`, and another one for a deliberate resend. None: the
    runtime makes one. `trace`: the `traceparent` above a message of a timer.
    """

    message: Message
    cause: Incoming | None = None
    message_id: UUID | None = None
    trace: str | None = None


class Rejected(Struct, frozen=True):
    """A record that a handler rejects, with the reason: it can never be handled and becomes a dead letter."""

    record: Record
    reason: str


def decoded(records: Sequence[Record]) -> tuple[list[Incoming], list[Rejected]]:
    """The decoded messages, and the records that cannot be decoded: an error in one record concerns that record only."""
    incoming, undecodable = [], []
    for record in records:
        try:
            if record.flaw is not None:
                raise Undecodable(record.flaw)
            incoming.append(Incoming(decode(record.topic, record.value), record))
        except Undecodable as error:
            undecodable.append(Rejected(record, words_of(error)))
        except MemoryError:
            raise
        except Exception as error:
            undecodable.append(
                Rejected(
                    record,
                    say(
                        "letter.not_decoded",
                        "the value cannot be decoded: {error}",
                        error=f"{type(error).__name__}: {error}",
                    ),
                )
            )
    return incoming, undecodable


class Batch:
    """The messages of one turn, in offset order within each partition, with the turn's time and its source of ids.

    A handler takes time and ids from here, never from the clock or SQL's `now()`, so that a turn can be repeated exactly.
    `is_rehearsal`: a dry run, which is rolled back (`rehearsal.py`); a handler with an effect outside of `db` must raise `NotRehearsed`.
    """

    def __init__(
        self, incoming: Sequence[Incoming], now: datetime, new_id: Callable[[], UUID], is_rehearsal: bool = False
    ) -> None:
        self.is_rehearsal: Final = is_rehearsal
        self.incoming: Final = incoming
        self.now: Final = now
        self.new_id: Final = new_id
        self.rejected: Final[list[Rejected]] = []

    def reject(self, incoming: Incoming, reason: str) -> None:
        """Make the record a dead letter with this reason. The other records of the batch take effect."""
        self.rejected.append(Rejected(incoming.record, reason))


Handle = Callable[[Batch, Connection], Awaitable[list[Outgoing]]]


class Handler(Struct, frozen=True):
    """A service's one handler, and its topics. A batch has records of all of them, mixed.

    `apart_s`: the time between the beginnings of two turns, at least. Where nobody waits for the effect of a record, a few records a turn
    cost less than a turn a record. The first record after a while is handled at once.
    `short`: for a few records it may get a `ShortTransaction` instead of a connection.
    `can_wait`: whether nobody waits for the effect of a record. Where it says so of all records that are there, they wait a moment for
    others, and share their turn. It may only guess: a wrong answer costs a turn or that moment.
    """

    topics: tuple[Topic, ...]
    handle: Handle
    apart_s: float = 0.0
    short: bool = False
    can_wait: Callable[[Record], bool] | None = None


def consumes(
    *messages: type[Message],
    apart_s: float = 0.0,
    short: bool = False,
    can_wait: Callable[[Record], bool] | None = None,
) -> Callable[[Handle], Handler]:
    """Decorator: declares which messages a handler takes. `apart_s`, `short` and `can_wait` as in `Handler`."""
    topics = tuple(BY_MESSAGE[message] for message in messages)
    return lambda handle: Handler(topics, handle, apart_s, short, can_wait)
