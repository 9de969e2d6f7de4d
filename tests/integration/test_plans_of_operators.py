"""A page of an operators' list reads about a page of rows, whatever it is filtered by, also where a plan was kept for all parameters."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from itertools import combinations
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from msgspec import structs

from ordersaga import delivery
from ordersaga.delivery.app import handler
from ordersaga.devstack import DevStack
from ordersaga.messaging import acts
from ordersaga.messaging.database import Connection, planned_anew
from ordersaga.messaging.letters import LetterFilter
from ordersaga.messaging.queues import QueueFilter, Queues
from ordersaga.messaging.redrive import Redrive
from ordersaga.operations.jobs import Jobs
from tests.integration.service import Bench, bench
from tests.integration.test_plans import KEPT, ROWS, rows_read

LIMIT = 50
FEW = 40
READ_MAX = 3 * LIMIT + FEW
TOPIC, RARE_TOPIC = "delivery-request-topic", "delivery-rare-topic"
FULL_ORDER = UUID(int=0xF0)
"""An order with many letters: first one half for one cause, then the other half for another."""
ITS_LETTERS = 4_000
JOBS, ITEMS = 400, 20
FILLED = [
    # The oldest few letters are open, of a rare cause and topic; few of the newest were replayed. All others are resolved.
    f"""INSERT INTO dead_letter (id, status, topic, partition, record_offset, order_key, header_names, header_values, cause, reason, attempts, at, decided_at)
    SELECT md5(n::text)::uuid, CASE WHEN n <= {FEW} THEN 'OPEN' WHEN n > $1 - {FEW} THEN 'REPLAYED' ELSE 'RESOLVED' END,
        CASE WHEN n <= {FEW} THEN '{RARE_TOPIC}' ELSE '{TOPIC}' END, n % 12, n, md5('order' || n)::uuid, '{{}}', '{{}}',
        CASE WHEN n <= {FEW} THEN 'com.example.Carrier_Away' ELSE 'com.example.CarrierLate' END, 'x', 5, to_timestamp(1700000000 + n), now()
    FROM generate_series(1, $1) AS n""",
    f"""INSERT INTO dead_letter (id, status, topic, partition, record_offset, order_key, header_names, header_values, cause, reason, attempts, at, decided_at)
    SELECT md5('full' || n)::uuid, 'DISCARDED', '{TOPIC}', 3, n, '{FULL_ORDER}', '{{}}', '{{}}',
        CASE WHEN n <= {ITS_LETTERS // 2} THEN 'Early' ELSE 'Late' END, 'x', 5, to_timestamp(1600000000 + n), now()
    FROM generate_series(1, {ITS_LETTERS}) AS n""",
    # Two records a queue; the last queues failed for a rare cause.
    f"""INSERT INTO parked (topic, partition, record_offset, order_key, header_names, header_values, timestamp_ms, attempts, due_at, cause, reason, parked_at)
    SELECT CASE WHEN n <= {FEW} THEN '{RARE_TOPIC}' ELSE '{TOPIC}' END, n % 12, n, md5('order' || n / 2)::uuid, '{{}}', '{{}}', 0, 1, now(), 'Busy', 'x', now()
    FROM generate_series(1, $1) AS n""",
    f"""INSERT INTO operator_act (at, who, what, target, order_key, why, "before", "after", job_id)
    SELECT to_timestamp(1700000000 + n), CASE WHEN n <= {FEW} THEN 'rare' ELSE 'kim' END, 'replay', md5((n / 2)::text), md5('order' || n / 2)::uuid, 'x', '{{}}', '{{}}',
        CASE WHEN n > {ROWS // 2} THEN md5('job' || n / {LIMIT * 4})::uuid END
    FROM generate_series(1, $1) AS n""",
    f"""INSERT INTO operator_job (id, act, dry_run, who, why, letters_per_s, failures_max, wait_s, created_at, ended_at)
    SELECT md5(n::text)::uuid, 'replay', false, 'kim', 'x', 1, 1, 1, to_timestamp(1700000000 + n), now() FROM generate_series(1, {JOBS}) AS n""",
    f"""INSERT INTO operator_job_item (job_id, number, letter_id)
    SELECT md5(n::text)::uuid, k, md5(k::text)::uuid FROM generate_series(1, {JOBS}) AS n, generate_series(1, {ITEMS}) AS k""",
    "VACUUM ANALYZE",
]
LETTER_FILTERS: dict[str, Any] = {
    "ids": ["c4ca4238"],
    "order_key": UUID("d9bd5c0d-5fd4-4e9a-8a40-66c1b1c1ffff"),
    "topic": RARE_TOPIC,
    "cause": "carrier_away",
    "before": datetime.fromtimestamp(1700000000 + ROWS // 2, UTC),
    "after": (datetime.fromtimestamp(1700000000 + ROWS // 3, UTC), uuid4()),
}
SEARCHES = [set(each) for n in range(len(LETTER_FILTERS) + 1) for each in combinations(LETTER_FILTERS, n)]
STATUSES: tuple[Any, ...] = (("OPEN",), ("REPLAYED",), ("RESOLVED",), None)
Page = Callable[["Shelf"], Awaitable[Any]]


class Shelf:
    """The lists of a service with many rows, on one connection, so that what they read is counted."""

    def __init__(self, depot: Bench, db: Connection) -> None:
        @contextlib.asynccontextmanager
        async def acquire(**_: Any) -> AsyncIterator[Connection]:
            yield db

        self.db = db
        pool = cast(Any, SimpleNamespace(acquire=acquire))
        now = lambda: datetime.now(UTC)  # noqa: E731
        self.letters = Redrive(depot.settings, "delivery", pool, cast(Any, None), now, uuid4)
        self.queues = Queues(depot.settings, "delivery", pool, now, uuid4)
        self.jobs = Jobs(cast(Any, SimpleNamespace(pool=pool, service="delivery", clock=now)))

    async def read(self, page: Page) -> tuple[int, Any]:
        """How many rows a page reads, and what it has."""
        async with self.db.transaction():
            before = sum((await rows_read(self.db)).values())
            found = await page(self)
            return sum((await rows_read(self.db)).values()) - before, found


@pytest.fixture(scope="module")
async def depot(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "delivery", delivery, handler) as one:
        for statement in FILLED:
            await one.pool.execute(statement, *([ROWS] if "$1" in statement else []))
        yield one


@pytest.fixture
async def shelf(depot: Bench) -> AsyncIterator[Shelf]:
    async with depot.pool.acquire() as db:
        await db.execute(KEPT)
        yield Shelf(depot, db)


@pytest.mark.parametrize("statuses", STATUSES, ids=str)
@pytest.mark.parametrize("asked", SEARCHES, ids=lambda asked: "+".join(sorted(asked)) or "nothing")
async def test_each_search_of_letters_reads_what_its_narrowest_filter_leaves(
    shelf: Shelf, asked: set[str], statuses: Any
) -> None:
    wanted = LetterFilter(statuses=statuses, **{name: LETTER_FILTERS[name] for name in asked})
    read, _ = await shelf.read(lambda shelf: shelf.letters.find(wanted, LIMIT))
    assert read <= READ_MAX


@pytest.mark.parametrize("statuses", STATUSES, ids=str)
@pytest.mark.parametrize("asked", [(), ("topic",), ("cause",), ("before",), ("after",)], ids=str)
async def test_a_page_of_each_orders_latest_letters_reads_a_page_and_each_orders_letters(
    shelf: Shelf, asked: tuple[str, ...], statuses: Any
) -> None:
    filters = {name: LETTER_FILTERS[name] for name in asked}
    wanted = LetterFilter(statuses=statuses, latest_of_order=True, **filters)
    read, found = await shelf.read(lambda shelf: shelf.letters.find(wanted, LIMIT))
    assert read <= 2 * READ_MAX
    read, repeats = await shelf.read(lambda shelf: shelf.letters.repeats([each.id for each in found]))
    assert read <= 3 * LIMIT
    assert found or asked
    assert {id: each.letters for id, each in repeats.items()} == {each.id: 1 for each in found}


@pytest.mark.parametrize("latest_of_order", [False, True])
@pytest.mark.parametrize("statuses", [("DISCARDED",), ("OPEN",), None], ids=str)
async def test_a_page_of_an_order_with_many_letters_reads_each_of_them_twice_at_most(
    shelf: Shelf, statuses: Any, latest_of_order: bool
) -> None:
    wanted = LetterFilter(order_key=FULL_ORDER, statuses=statuses, latest_of_order=latest_of_order)
    read, found = await shelf.read(lambda shelf: shelf.letters.find(wanted, LIMIT))
    if latest_of_order:
        assert [each.cause for each in found] == ([] if statuses == ("OPEN",) else ["Late", "Early"])
        assert read <= 2 * ITS_LETTERS + READ_MAX
    elif statuses == ("OPEN",):
        assert not found and read <= READ_MAX
    else:
        assert len(found) == LIMIT and read <= READ_MAX


async def test_the_letters_of_an_order_are_grouped_and_counted_by_reading_them_once(shelf: Shelf) -> None:
    wanted = LetterFilter(order_key=FULL_ORDER, statuses=None)
    read, causes = await shelf.read(lambda shelf: shelf.letters.causes(wanted))
    assert {each.cause: each.letters for each in causes} == dict.fromkeys(("Early", "Late"), ITS_LETTERS // 2)
    assert read <= ITS_LETTERS + READ_MAX
    latest = await shelf.letters.find(structs.replace(wanted, latest_of_order=True), LIMIT)
    read, repeats = await shelf.read(lambda shelf: shelf.letters.repeats([each.id for each in latest]))
    assert [each.letters for each in repeats.values()] == [ITS_LETTERS // 2] * 2
    assert read <= ITS_LETTERS + READ_MAX


async def test_letters_are_found_by_the_end_of_a_cause_the_beginning_of_an_id_and_a_status(shelf: Shelf) -> None:
    async def found(**conditions: Any) -> int:
        return len(await shelf.letters.find(LetterFilter(**conditions), 2 * ROWS))

    assert await found() == FEW
    assert await found(cause="CARRIER_AWAY") == await found(cause="com.example.carrier_away") == FEW
    assert await found(cause="Away") == await found(cause="carrierxaway") == await found(cause="%") == 0
    assert await found(cause="CarrierLate", statuses=None) == ROWS - FEW
    assert await found(statuses=("OPEN", "REPLAYED")) == 2 * FEW
    assert await found(ids=["c4ca4238"]) == await found(ids=["c4ca4238-a0b9-2382-0dcc"]) == 1
    assert await found(ids=["c4ca4238", "c81e728d"]) == 2
    assert await found(ids=["no id"]) == await found(ids=["C4CA"]) == 0


async def test_causes_of_open_letters_read_no_resolved_ones(shelf: Shelf) -> None:
    read, causes = await shelf.read(lambda shelf: shelf.letters.causes(LetterFilter()))
    assert [each.letters for each in causes] == [FEW]
    assert read <= READ_MAX


@pytest.mark.parametrize(
    "wanted",
    [
        QueueFilter(),
        QueueFilter(topic=TOPIC),
        QueueFilter(topic=RARE_TOPIC),
        QueueFilter(topic="none"),
        QueueFilter(order_key=UUID(int=7)),
        QueueFilter(cause="busy"),
        QueueFilter(after=(TOPIC, 6, UUID(int=0))),
        QueueFilter(topic=TOPIC, after=(TOPIC, 6, UUID(int=0)), cause="BUSY"),
    ],
    ids=str,
)
async def test_a_page_of_parked_queues_reads_a_page_of_queues(shelf: Shelf, wanted: QueueFilter) -> None:
    read, found = await shelf.read(lambda shelf: shelf.queues.find(wanted, LIMIT))
    assert len(found) <= LIMIT
    assert read <= 6 * LIMIT  # of each queue: its key, its first record and its count


async def test_queues_are_listed_each_once_and_in_order(shelf: Shelf) -> None:
    every = await shelf.queues.find(QueueFilter(), None)
    assert len(every) == await shelf.db.fetchval("SELECT count(DISTINCT (topic, partition, order_key)) FROM parked")
    assert sum(each.records for each in every) == ROWS
    places = [(each.topic, each.partition, each.order_key) for each in every]
    assert places == sorted(places)
    paged = []
    after = None
    while page := await shelf.queues.find(QueueFilter(after=after), 1_000):
        paged += page
        after = (page[-1].topic, page[-1].partition, page[-1].order_key)
    assert paged == every


@pytest.mark.parametrize(
    ("target", "who", "before_id", "order_key"),
    [
        (None, None, None, None),
        (None, "rare", None, None),
        (None, "nobody", None, None),
        (None, "kim", ROWS // 2, None),
        ("none", None, None, None),
        ("c4ca4238a0b923820dcc509a6f75849b", "rare", None, None),
        (None, None, None, UUID("d9bd5c0d-5fd4-4e9a-8a40-66c1b1c1ffff")),
        (None, "kim", None, UUID(hashlib.md5(b"order7").hexdigest())),
    ],
)
async def test_a_page_of_the_trail_reads_a_page_of_acts(
    shelf: Shelf, target: str | None, who: str | None, before_id: int | None, order_key: UUID | None
) -> None:
    async def page(shelf: Shelf) -> Any:
        async with planned_anew(shelf.db):  # as the route has it: `Runtime.searching`
            return await acts.page(shelf.db, target, who, before_id, LIMIT, order_key)

    read, _ = await shelf.read(page)
    assert read <= READ_MAX


@pytest.mark.parametrize(
    "asked",
    [{"by_jobs": False}, {"by_jobs": False, "who": "kim"}, {"job_id": UUID(hashlib.md5(b"job60").hexdigest())}],
    ids=str,
)
async def test_a_page_of_the_trail_without_jobs_or_of_one_job_reads_a_page_of_acts(
    shelf: Shelf, asked: dict[str, Any]
) -> None:
    async def page(shelf: Shelf) -> Any:
        async with planned_anew(shelf.db):
            return await acts.page(
                shelf.db, **{"target": None, "who": None, "before_id": None, "rows_max": LIMIT, **asked}
            )

    read, found = await shelf.read(page)
    assert len(found) == LIMIT and read <= READ_MAX


async def test_a_page_of_jobs_reads_the_letters_of_its_jobs_alone(shelf: Shelf) -> None:
    limit = 10
    read, jobs = await shelf.read(lambda shelf: shelf.jobs.find(None, limit))
    assert len(jobs) == limit and read <= 2 * limit * (ITEMS + 1)
    after = (jobs[-1].created_at, jobs[-1].id)
    read, more = await shelf.read(lambda shelf: shelf.jobs.find(after, limit))
    assert len(more) == limit and read <= 2 * limit * (ITEMS + 1)
    read, _ = await shelf.read(lambda shelf: shelf.jobs.items(jobs[0].id, 0, limit))
    assert read <= 3 * limit


async def test_a_letter_of_a_job_is_marked_without_reading_the_others(shelf: Shelf) -> None:
    query = "UPDATE operator_job_item SET begun_at = now() WHERE job_id = $1 AND letter_id = $2 AND result IS NULL"
    job = await shelf.db.fetchval("SELECT id FROM operator_job LIMIT 1")
    letter = await shelf.db.fetchval("SELECT letter_id FROM operator_job_item WHERE job_id = $1 AND number = 7", job)
    read, _ = await shelf.read(lambda shelf: shelf.db.execute(query, job, letter))
    assert read <= 2
