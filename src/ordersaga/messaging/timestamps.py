"""A codec for `timestamptz`: a turn writes the same time thousands of times, and asyncpg would convert it each time."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from ordersaga.messaging.connections import AsyncpgConnection

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL counts microseconds from here."""
MICROSECOND: Final = timedelta(microseconds=1)


async def use_cached_timestamps(db: AsyncpgConnection) -> None:
    """Convert the `timestamptz` values of this connection through a cache."""
    await db.set_type_codec("timestamptz", schema="pg_catalog", encoder=_microseconds, decoder=_moment, format="tuple")


@lru_cache(maxsize=1024)
def _microseconds(moment: datetime) -> tuple[int]:
    return ((moment - EPOCH) // MICROSECOND,)


@lru_cache(maxsize=1024)
def _moment(since_epoch: tuple[int]) -> datetime:
    return EPOCH + timedelta(microseconds=since_epoch[0])
