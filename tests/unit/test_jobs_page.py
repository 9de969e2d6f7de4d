"""The page of a bulk job: how many jobs are before it, of which a service names a limited number."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from litestar import Request

from ordersaga.operations.job_resources import JobResource
from ordersaga.settings import Settings
from ordersaga.web.console.jobs import AHEAD_SHOWN, AHEAD_TOLD_MAX
from ordersaga.web.console.sayings import told
from ordersaga.web.desk import Desk
from ordersaga.web.services import Services
from ordersaga.web.signing import Signer


def job(number: int, waits_for: list[UUID] | None) -> JobResource:
    return JobResource(
        id=UUID(int=number), version="RUNNING", state="RUNNING", act="replay", dry_run=False, who="op", why="x", letters_per_second=1.0,
        stop_after=1, wait_seconds=1.0, type_id=None, created_at=datetime(2026, 1, 1, tzinfo=UTC), ended_at=None, stopped_by=None,
        stop_reason=None, letters=1, counts={"waiting": 1}, waits_for=waits_for,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("waiting", "said"),
    [(AHEAD_TOLD_MAX - 1, "and 16 more"), (AHEAD_TOLD_MAX, "and 17 or more others")],
)
def test_the_number_of_jobs_before_is_told_as_a_least_number_where_the_service_names_no_more(
    waiting: int, said: str
) -> None:
    settings = Settings(development=True, web_sign_in="demo")
    desk = Desk(settings, Services(settings), Signer(b"secret"))
    visit = desk.visit(Request({"type": "http", "headers": [], "path": "/", "query_string": b"", "method": "GET"}))  # type: ignore[arg-type]
    ids = [UUID(int=each) for each in range(waiting)]
    values = {
        "job": job(99, ids), "service": "order", "items": None, "cursor": "", "ahead": [job(each, None) for each in range(AHEAD_SHOWN)],
        "more_ahead": waiting - AHEAD_SHOWN, "ahead_max": AHEAD_TOLD_MAX, "who": str, "told": told,
    }  # fmt: skip
    assert said in desk.part(visit, "console/_job.html", values)
