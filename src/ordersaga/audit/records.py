"""What lies between the services: outboxes, ledgers against Kafka's watermarks, dead letters, completion records, the gateway's books."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import aiohttp

from ordersaga.audit.finding import Finding
from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.messages import OrderCompletedMessage
from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.messaging.kafka import Partition, Tap, watermarks
from ordersaga.settings import Settings

COMPLETED_TOPIC: Final = BY_MESSAGE[OrderCompletedMessage].name
FETCH_WAIT_S: Final = 0.2
BOOKS_TIMEOUT_S: Final = 30.0


async def completion_records(settings: Settings) -> dict[UUID, int]:
    """How many different completion records each order has; repeats with the same `message-id` are one."""
    tap = await asyncio.to_thread(Tap, settings, [COMPLETED_TOPIC], True)
    seen: set[bytes | tuple[int, int]] = set()
    counts: Counter[UUID] = Counter()
    try:
        while not await tap.at_end():
            for record in await tap.fetch(50_000, FETCH_WAIT_S):
                message_id = record.header("message-id") or (record.partition, record.offset)
                if message_id not in seen:
                    seen.add(message_id)
                    with contextlib.suppress(Undecodable):
                        counts[key_of(decode(record.topic, record.value))] += 1
    finally:
        tap.close()
    return counts


def outboxes(rows: dict[str, list[Any]], cutoff: datetime) -> Finding:
    """Committed records that are not yet known to be published; recent ones are in flight."""
    finding = Finding("every committed record is published", unit="outboxes")
    for service, found in rows.items():
        finding.count += 1
        for row in found:
            what = f"{service}: {row['rows']} records for {row['topic']}"
            if row["oldest"] > cutoff:
                finding.waits(what)
            else:
                finding.breaks(what)
    return finding


async def ledgers(settings: Settings, rows: dict[str, list[Any]], at_rest: bool) -> Finding:
    """Records that are in Kafka and not yet handled: at rest there must be none."""
    finding = Finding("every record in Kafka is handled", unit="partitions")
    places = {Partition(row["topic"], row["partition"]) for found in rows.values() for row in found}
    bounds = await asyncio.to_thread(watermarks, settings, sorted(places))
    for service, found in rows.items():
        for row in found:
            finding.count += 1
            _, high = bounds[Partition(row["topic"], row["partition"])]
            behind = high - row["next_offset"]
            what = f"{service}: {row['topic']}/{row['partition']} is {behind} records behind"
            if behind > 0 and at_rest:
                finding.breaks(what)
            elif behind > 0:
                finding.waits(what)
            elif behind < 0:
                finding.breaks(
                    f"{service}: {row['topic']}/{row['partition']} stands {-behind} records past the log's end"
                )
    return finding


def dead_letters(rows: dict[str, list[Any]], lost: dict[str, list[Any]]) -> Finding:
    """Records given up, counted by what has become of them; the open ones are listed, for somebody has to look at them.

    One that was put back must be in the parking or done with, one that gave way must have its successor, and one that was discarded
    somebody who did it.
    """
    finding = Finding("each dead letter is accounted for", unit="dead letters")
    counts: Counter[str] = Counter()
    for service, found in rows.items():
        for row in found:
            finding.count += row["rows"]
            counts[row["status"]] += row["rows"]
            if row["status"] in ("OPEN", "REPLAYED"):
                finding.waits(f"{service}: {row['rows']} {row['status']} of {row['topic']}, {row['cause']}")
    if counts:
        finding.unit += f" ({', '.join(f'{count:,} {status}' for status, count in sorted(counts.items()))})"
    for service, found in lost.items():
        for row in found:
            place = f"{row['topic']}/{row['partition']}/{row['record_offset']}"
            finding.breaks(f"{service}: {row['id']} of {place} is {row['status']}, {row['problem']}")
    return finding


def parked(rows: dict[str, list[Any]]) -> Finding:
    """Records whose handling failed and is tried again: listed; a queue that nobody will ever try is lost."""
    finding = Finding("each parked record will be tried again", unit="parked records")
    for service, found in rows.items():
        for row in found:
            finding.count += row["rows"]
            what = f"{service}: {row['rows']} behind and with {row['topic']}/{row['partition']}/{row['record_offset']}"
            if row["due_at"] is None:
                finding.breaks(f"{what}, which has no time for its next try")
            else:
                finding.waits(f"{what}, tried {row['attempts']} times, {row['cause']}")
    return finding


async def books(
    settings: Settings, payments: dict[str, int], open_ones: Collection[str], cutoff: datetime | None
) -> Finding | None:
    """The sandbox gateway's own books against the payment table, to the won; None where the gateway is not the sandbox.

    The books are read after the table, so what the gateway has done since `cutoff` is in flight, and so are `open_ones`; None: at rest,
    when nothing is.
    """
    finding = Finding("the gateway's books and the payment table agree to the won", unit="payments")
    timeout = aiohttp.ClientTimeout(total=BOOKS_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        after: int | None = 0
        while after is not None:
            try:
                async with http.get(f"{settings.gateway_url}/sandbox/books", params={"after": str(after)}) as response:
                    if response.status != 200:
                        return None
                    page = await response.json()
            except (aiohttp.ClientError, TimeoutError):
                return None
            for entry in page["payments"]:
                finding.count += 1
                ours = payments.pop(entry["paymentKey"], 0)
                theirs = entry["balanceAmount"] if entry["approvedAt"] else 0
                if ours != theirs:
                    what = f"{entry['paymentKey']} of order {entry['orderId']}: the gateway holds {theirs} won, our table says {ours}"
                    recent = cutoff and datetime.fromisoformat(entry["changedAt"]) >= cutoff.replace(microsecond=0)
                    (finding.waits if recent or entry["paymentKey"] in open_ones else finding.breaks)(what)
            after = page["next"]
    for payment_key, amount in payments.items():
        if amount:
            finding.breaks(f"{payment_key}: our table says {amount} won, the gateway knows nothing of it")
    return finding
