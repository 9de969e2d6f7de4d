"""UUIDs made in C: every order and output has some. The standard library takes twice as long to make one, eight times to print it."""

from uuid import UUID

from asyncpg.pgproto import pgproto
from uuid_utils import uuid7


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): sorts by time, so rows of the same time are close together in an index."""
    return uuid_of(uuid7().bytes)


def uuid_of(sixteen: bytes) -> UUID:
    """The UUID of 16 bytes: an instance of `uuid.UUID`, equal to any other of the same bytes."""
    made: UUID = pgproto.UUID(sixteen)
    return made
