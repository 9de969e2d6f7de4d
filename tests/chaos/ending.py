"""How a run ends: the audit at rest, and what each customer was told against what is stored."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import asyncpg

from ordersaga.audit import Finding, verify
from ordersaga.settings import Settings
from tests.chaos.crowd import Crowd
from tests.chaos.ledgers import missteps

SETTLE_LIMIT_S: Final = 120.0


async def settled(settings: Settings) -> list[Finding]:
    """The findings of the audit at rest, or after `SETTLE_LIMIT_S`."""
    end = time.monotonic() + SETTLE_LIMIT_S
    while True:
        findings = await verify(settings)
        if all(each.holds and not each.in_flight_count for each in findings) or time.monotonic() > end:
            return findings
        await asyncio.sleep(1.0)


async def wrong(settings: Settings, crowd: Crowd, findings: Sequence[Finding]) -> list[str]:
    """Broken invariants, work that has not ended, customers who were told another end than the table has, and missteps of a ledger."""
    found = [f"{each.invariant}: {what}" for each in findings for what in [*each.broken, *each.unjudged]]
    found += [f"not at its end: {each.invariant}: {what}" for each in findings for what in each.in_flight]
    found += [f"{each.order_id} ({each.kind}): {each.trouble}" for each in crowd.customers if each.trouble]
    found += [f"{each.order_id} ({each.kind}) has not ended" for each in crowd.customers if not each.end]
    db = await asyncpg.connect(settings.database_url("order"))
    rows = await db.fetch("SELECT customer_id, order_id, status FROM orders JOIN saga USING (order_id)")
    await db.close()
    orders = defaultdict(list)
    for row in rows:
        orders[row["customer_id"]].append((row["order_id"], row["status"]))
    for each in crowd.customers:
        if each.end and orders[each.user_id] != [(each.order_id, each.end)]:
            found.append(f"{each.order_id} ({each.kind}) was told {each.end}, the table has {orders[each.user_id]}")
    return found + await missteps(settings)
