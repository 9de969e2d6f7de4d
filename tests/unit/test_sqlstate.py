"""Every error that PostgreSQL can raise has a decided meaning."""

import inspect
from typing import Any

import asyncpg
import pytest
from asyncpg import exceptions

from ordersaga.messaging.sqlstate import CLASSES, STATES, ErrorKind, is_deployment, is_transient, kind_of


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
    ("state", "kind"),
    [
        ("08006", ErrorKind.RECONNECT),
        ("0A000", ErrorKind.DEPLOYMENT),
        ("22003", ErrorKind.RECORD),
        ("23505", ErrorKind.RECORD),
        ("25006", ErrorKind.RECONNECT),
        ("25P02", ErrorKind.RECONNECT),
        ("25P03", ErrorKind.RECONNECT),
        ("26000", ErrorKind.RECONNECT),
        ("28P01", ErrorKind.RECONNECT),
        ("3D000", ErrorKind.RECONNECT),
        ("3F000", ErrorKind.DEPLOYMENT),
        ("40001", ErrorKind.AGAIN),
        ("40P01", ErrorKind.AGAIN),
        ("42703", ErrorKind.DEPLOYMENT),
        ("53100", ErrorKind.AGAIN),
        ("53200", ErrorKind.SMALLER),
        ("53300", ErrorKind.AGAIN),
        ("54000", ErrorKind.RECORD),
        ("55P03", ErrorKind.LOCKED),
        ("57014", ErrorKind.SMALLER),
        ("57P01", ErrorKind.RECONNECT),
        ("58030", ErrorKind.AGAIN),
        ("P0001", ErrorKind.RECORD),
        ("XX001", ErrorKind.RECORD),
        ("99999", ErrorKind.RECORD),
    ],
)
def test_a_sqlstate_means(state: str, kind: ErrorKind) -> None:
    assert kind_of(asyncpg.PostgresError.new({"C": state, "M": "said"})) is kind


def test_no_error_is_both_passing_and_a_bad_deployment() -> None:
    for each in errors_of_asyncpg():
        error = each("said")
        assert not (is_transient(error) and is_deployment(error)), each


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), ErrorKind.RECONNECT),
        (ConnectionResetError(), ErrorKind.RECONNECT),
        (asyncpg.InterfaceError("connection is closed"), ErrorKind.RECONNECT),
        (asyncpg.InternalClientError("cannot switch to state 15"), ErrorKind.RECONNECT),
        (asyncpg.TargetServerAttributeNotMatched("none of the hosts"), ErrorKind.RECONNECT),
        (asyncpg.InvalidCachedStatementError("cached statement plan is invalid"), ErrorKind.AGAIN),
        (asyncpg.DataError("invalid input for query argument $1"), ErrorKind.RECORD),
        (ValueError(), ErrorKind.RECORD),
    ],
)
def test_what_is_no_word_of_the_server_is_decided_too(error: Exception, kind: ErrorKind) -> None:
    assert kind_of(error) is kind
