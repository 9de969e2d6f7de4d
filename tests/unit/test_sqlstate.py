"""Every error that PostgreSQL can raise has a decided meaning."""

import inspect
from typing import Any

import asyncpg
import pytest
from asyncpg import exceptions

from ordersaga.messaging.sqlstate import CLASSES, STATES, Verdict, is_deployment, is_transient, verdict_of


def errors_of_asyncpg() -> list[type[asyncpg.PostgresError]]:
    found: list[Any] = [getattr(exceptions, name) for name in dir(exceptions)]
    return [
        each for each in found if inspect.isclass(each) and issubclass(each, asyncpg.PostgresError) and each.sqlstate
    ]


def test_every_sqlstate_class_is_decided_on_purpose() -> None:
    assert {str(each.sqlstate)[:2] for each in errors_of_asyncpg()} - CLASSES.keys() == set()


def test_every_single_state_that_is_decided_exists() -> None:
    assert STATES.keys() - {each.sqlstate for each in errors_of_asyncpg()} == set()


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("08006", Verdict.RECONNECT),
        ("0A000", Verdict.DEPLOYMENT),
        ("22003", Verdict.RECORD),
        ("23505", Verdict.RECORD),
        ("25006", Verdict.RECONNECT),
        ("25P02", Verdict.RECONNECT),
        ("25P03", Verdict.RECONNECT),
        ("26000", Verdict.RECONNECT),
        ("28P01", Verdict.RECONNECT),
        ("3D000", Verdict.RECONNECT),
        ("3F000", Verdict.DEPLOYMENT),
        ("40001", Verdict.AGAIN),
        ("40P01", Verdict.AGAIN),
        ("42703", Verdict.DEPLOYMENT),
        ("53100", Verdict.AGAIN),
        ("53200", Verdict.SMALLER),
        ("53300", Verdict.AGAIN),
        ("54000", Verdict.RECORD),
        ("55P03", Verdict.LOCKED),
        ("57014", Verdict.SMALLER),
        ("57P01", Verdict.RECONNECT),
        ("58030", Verdict.AGAIN),
        ("P0001", Verdict.RECORD),
        ("XX001", Verdict.RECORD),
        ("99999", Verdict.RECORD),
    ],
)
def test_a_sqlstate_means(state: str, verdict: Verdict) -> None:
    assert verdict_of(asyncpg.PostgresError.new({"C": state, "M": "said"})) is verdict


def test_no_error_is_both_passing_and_a_bad_deployment() -> None:
    for each in errors_of_asyncpg():
        error = each("said")
        assert not (is_transient(error) and is_deployment(error)), each


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (TimeoutError(), Verdict.RECONNECT),
        (ConnectionResetError(), Verdict.RECONNECT),
        (asyncpg.InterfaceError("connection is closed"), Verdict.RECONNECT),
        (asyncpg.InternalClientError("cannot switch to state 15"), Verdict.RECONNECT),
        (asyncpg.TargetServerAttributeNotMatched("none of the hosts"), Verdict.RECONNECT),
        (asyncpg.InvalidCachedStatementError("cached statement plan is invalid"), Verdict.AGAIN),
        (asyncpg.DataError("invalid input for query argument $1"), Verdict.RECORD),
        (ValueError(), Verdict.RECORD),
    ],
)
def test_what_is_no_word_of_the_server_is_decided_too(error: Exception, verdict: Verdict) -> None:
    assert verdict_of(error) is verdict
