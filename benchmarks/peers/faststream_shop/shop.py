"""What the three services share: the broker, sessions, and the outbox with its publisher."""

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from sqlalchemy import BigInteger, DateTime, Sequence, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers.faststream_shop.messages import Message

POLL_S: Final = 0.02
TAKE: Final = text(
    "DELETE FROM outbox WHERE id = ANY (ARRAY (SELECT id FROM outbox ORDER BY id LIMIT :rows_max FOR UPDATE SKIP LOCKED)) "
    "RETURNING id, topic, record_key, value"
)

PREFIX: Final = os.environ["SHOP_TOPICS"]
CONCURRENCY: Final = int(os.environ["SHOP_CONCURRENCY"])
ROWS_MAX: Final = int(os.environ["SHOP_OUTBOX_BATCH"])

engine: Final = create_async_engine(
    os.environ["SHOP_DATABASE_URL"], pool_size=int(os.environ["SHOP_POOL"]), max_overflow=0
)
sessions: Final = async_sessionmaker(engine, expire_on_commit=False)
broker: Final = KafkaBroker(
    os.environ["SHOP_BOOTSTRAP_SERVERS"],
    acks="all",
    enable_idempotence=True,
    linger_ms=5,
    compression_type="lz4",
    logger=logging.getLogger("shop"),
)


class Entity(DeclarativeBase):
    type_annotation_map: ClassVar = {datetime: DateTime(timezone=True)}


class OutboxRecord(Entity):
    """A record to publish, written in the transaction that leads to it."""

    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(BigInteger, Sequence("outbox_seq"), primary_key=True)
    topic: Mapped[str]
    record_key: Mapped[str]
    value: Mapped[str]


def publish(session: AsyncSession, topic: str, order_id: UUID, message: Message) -> None:
    """Put a record into the outbox."""
    value = message.model_dump_json(by_alias=True)
    session.add(OutboxRecord(topic=PREFIX + topic, record_key=str(order_id), value=value))


def consumes(topic: str) -> Callable[[Any], Any]:
    """A subscriber with as many concurrent consumers as are set; offsets are committed after the handler's transaction."""
    return broker.subscriber(
        PREFIX + topic,
        group_id=f"{os.environ['SHOP_GROUP']}-{topic}",
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.NACK_ON_ERROR,
        max_workers=CONCURRENCY,
        # A process is frozen while others are measured, and must still be in its group afterwards.
        session_timeout_ms=1_800_000,
        max_poll_interval_ms=7_200_000,
        heartbeat_interval_ms=500,
        fetch_max_wait_ms=100,
    )


async def _publish_outbox() -> None:
    """Batch by batch: the rows are gone when all of their records are acknowledged; otherwise all stay."""
    while True:
        async with sessions.begin() as session:
            rows = sorted((await session.execute(TAKE, {"rows_max": ROWS_MAX})).all())
            sent = [
                await broker.publish(row.value.encode(), row.topic, key=row.record_key.encode(), no_confirm=True)
                for row in rows
            ]
            await asyncio.gather(*sent)
        if not rows:
            await asyncio.sleep(POLL_S)


def application() -> FastStream:
    """The service whose subscribers are declared by now."""
    app = FastStream(broker, logger=logging.getLogger("shop"))
    publishing: list[asyncio.Task[None]] = []

    @app.after_startup
    async def start() -> None:
        publishing.append(asyncio.create_task(_publish_outbox()))

    @app.on_shutdown
    async def stop() -> None:
        publishing[0].cancel()
        await engine.dispose()

    return app
