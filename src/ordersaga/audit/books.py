"""Compares the gateway's books with Payment's table, to the won. Only the sandbox shows its books. They are sorted in a temporary file."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Meta, Struct

from ordersaga.audit.finding import CLOCKS_APART, Finding, Moment
from ordersaga.audit.predecessors import Predecessor, note_payments
from ordersaga.audit.sources import Sources, in_words, stream
from ordersaga.contracts.codec import NOT_JSON
from ordersaga.messaging.queries import queries
from ordersaga.said import joined, say
from ordersaga.settings import Settings

sql: Final = queries(__file__)

CALL_S: Final = 30.0
REAL_GATEWAY: Final = "tosspayments.com"
CURRENCY: Final = "KRW"

Time = Annotated[datetime, Meta(tz=True)]


class _Entry(Struct, rename="camel"):
    payment_key: str
    order_id: str
    total_amount: int
    balance_amount: int
    approved_at: Time | None
    changed_at: Time
    currency: str = CURRENCY


class _Page(Struct):
    items: list[_Entry]
    next: str | None


_page: Final = msgspec.json.Decoder(_Page)


async def books(
    settings: Settings,
    sources: Sources,
    moment: Moment,
    before: Predecessor | None,
    progress: Callable[[str, str, int], None],
) -> Finding:
    """Compare the books with Payment's snapshot. The books are read after the snapshot was taken, so a later change at the gateway is in
    flight. A payment with an open intent is in flight, too. `before`: whom Payment took over from."""
    finding = Finding("the gateway's books and the payment table agree to the won", "books", unit="payments")
    if not settings.gateway_books or (urlsplit(settings.gateway_url).hostname or "").endswith(REAL_GATEWAY):
        finding.is_left_out(
            say(
                "audit.books.no_sandbox",
                "the gateway at {url} is no sandbox, and shows no books",
                url=settings.gateway_url,
            )
        )
        return finding
    if sources.lacks(finding, "payment"):
        return finding
    with closing(sqlite3.connect("")) as kept:  # a file that SQLite makes when its cache is full, and removes
        kept.execute(
            "CREATE TABLE entry (payment_key TEXT, order_id TEXT, total INT, held INT, changed_at TEXT, currency TEXT, approved_at TEXT)"
        )
        try:
            async for page in _pages(settings.gateway_url):
                kept.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", [_row(each) for each in page])
                finding.count += len(page)
                progress(
                    "audit.doing.books", "{count} {count:payment|payments} of the gateway's books read", finding.count
                )
        except (aiohttp.ClientError, sqlite3.Error, TimeoutError, OSError, *NOT_JSON, _NoBooks) as error:
            why = say(
                "audit.books.away",
                "the gateway's books at {url}: {error}",
                url=settings.gateway_url,
                error=in_words(error),
            )
            if finding.count:
                why += say("audit.books.after", ", after {count} {count:payment|payments}", count=f"{finding.count:,}")
            finding.unknown(why)
        async with sources.guarded("payment", finding) as db:
            await _compare(finding, _entries(kept), stream(db, sql.payments_by_key), moment, before)
    note_payments(finding, before)
    return finding


class _NoBooks(Exception):
    """The gateway answers, but not with a page of its books."""


async def _pages(gateway_url: str) -> AsyncIterator[list[_Entry]]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_S)) as http:
        cursors: list[str] = []
        while True:
            query = {"cursor": cursors[-1]} if cursors else {}
            async with http.get(f"{gateway_url}/sandbox/books", params=query) as response:
                if response.status == 404 and not cursors:
                    raise _NoBooks("it shows no books (404); if it is no sandbox, set ORDERSAGA_GATEWAY_BOOKS=false")
                if response.status != 200:
                    raise _NoBooks(f"it answers {response.status}")
                page = _page.decode(await response.read())
            yield page.items
            if page.next is None:
                return
            if page.next in cursors:
                raise _NoBooks("its pages do not go on: a cursor came twice")
            cursors.append(page.next)


def _row(entry: _Entry) -> tuple[Any, ...]:
    held = entry.balance_amount if entry.approved_at else 0
    total = entry.total_amount if entry.approved_at else 0
    approved_at = entry.approved_at and entry.approved_at.isoformat()
    return entry.payment_key, entry.order_id, total, held, entry.changed_at.isoformat(), entry.currency, approved_at


def _entries(kept: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """The entries by payment key, each once. If the books changed while they were read, the later reading of an entry counts."""
    return iter(
        kept.execute(
            "SELECT payment_key, order_id, total, held, changed_at, currency, approved_at, max(rowid) FROM entry "
            "GROUP BY payment_key ORDER BY payment_key"
        )
    )


async def _compare(
    finding: Finding,
    entries: Iterator[tuple[Any, ...]],
    payments: AsyncIterator[Any],
    moment: Moment,
    before: Predecessor | None,
) -> None:
    """Merge both in the order of the keys' bytes. If the books were not read to the end, a payment missing in them is not judged."""
    is_whole = not finding.unjudged_count
    entry, ours = next(entries, None), await anext(payments, None)
    while entry is not None or ours is not None:
        theirs_first = entry is not None and (ours is None or entry[0].encode() < ours["payment_key"].encode())
        if entry is not None and theirs_first:
            _judge(finding, entry, None, moment, before)
            entry = next(entries, None)
        elif entry is not None and ours is not None and entry[0] == ours["payment_key"]:
            _judge(finding, entry, ours, moment, before)
            entry, ours = next(entries, None), await anext(payments, None)
        elif ours is not None:
            amount = ours["captured"] - ours["refunded"]
            if amount and is_whole:
                whose = f" of order {ours['order_id']}" if ours["order_id"] else ""
                finding.breaks(
                    f"{ours['payment_key']}{whose}: "
                    + say(
                        "audit.books.no_payment",
                        "our table says {amount} won, the gateway has no such payment",
                        amount=amount,
                    )
                )
            ours = await anext(payments, None)


def _judge(finding: Finding, entry: tuple[Any, ...], ours: Any, moment: Moment, before: Predecessor | None) -> None:
    """Judge one entry. `ours`: Payment's row for that key, or None. A key with an open intent and without a payment has a row, too."""
    key, order_id, total, held, changed_at, currency, approved_at, _ = entry
    if ours is None and before is not None and approved_at and before.took(datetime.fromisoformat(approved_at)):
        before.payments += 1
        return
    captured, refunded = (0, 0) if ours is None else (ours["captured"], ours["refunded"])
    problems = []
    if held != captured - refunded:
        problems.append(
            say(
                "audit.books.held",
                "the gateway holds {theirs} won, our table says {ours}",
                theirs=held,
                ours=captured - refunded,
            )
        )
    elif held and total != captured:
        problems.append(
            say(
                "audit.books.captured",
                "the gateway captured {theirs} won, our table says {ours}",
                theirs=total,
                ours=captured,
            )
        )
    if ours is not None and ours["order_id"] is not None and order_id != str(ours["order_id"]):
        problems.append(say("audit.books.order", "our table has it for order {order}", order=ours["order_id"]))
    if currency != CURRENCY and held:
        problems.append(say("audit.books.currency", "it is in {currency}", currency=currency))
    if not problems:
        return
    # The books have times in whole seconds.
    at = datetime.fromisoformat(changed_at)
    is_recent = moment.cutoff.replace(microsecond=0) <= at <= moment.now + CLOCKS_APART
    waits = not moment.at_rest and (is_recent or (ours is not None and ours["is_open"]))
    (finding.waits if waits else finding.breaks)(f"{key} of order {order_id}: " + joined("; ", problems))
