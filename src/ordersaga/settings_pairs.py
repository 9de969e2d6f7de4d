"""Checks limits that depend on each other. A pair that would break a promise is refused at start; the sentence says which one to change.

Some limits are constants of modules that `settings` may not import. They are copied here, and `tests/unit/test_settings_pairs.py` compares
the copies with the originals.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

PREFIX: Final = "ORDERSAGA_"

OUTBOX_BLOCK_IDS: Final = 1_000_000
"""Ids that one transaction may give to its outbox rows (the increment of the sequence `outbox_block`)."""
ORDER_LINES_MAX: Final = 100
"""Lines of one order, each of which Stock answers with a record."""
WRITES_OF_A_SERVICE_MAX: Final = 4
"""Kinds of gathered HTTP writes that one service has."""
LOOP_LIMIT_S: Final = 60.0
"""A loop of the runtime that has not finished a round within this time is cancelled and started again."""
SET_LOCK_WAIT_MS: Final = 400
"""How long a gathered set of requests waits for a locked row before the set is halved."""
SUSPICION_RECORDS: Final = 100
"""How many records' outcomes are remembered to tell a bad deployment from bad records."""
RECORD_MS_MAX: Final = 0.5
"""Time in which a service decides about one record, with room for a slow machine (0.11 ms measured)."""
DOUBLINGS_MAX: Final = 6
"""How often the wait for a partner's answer is doubled."""


class Pair(NamedTuple):
    """The setting `smaller` must be less than the setting `larger`; if it is not, `change` says what to do."""

    smaller: str
    larger: str
    why: str
    change: str


PAIRS: Final = (
    Pair(
        "lock_timeout_ms",
        "statement_timeout_ms",
        "else PostgreSQL ends a statement before its wait for a lock is over, and the record behind the lock is not parked alone",
        "lower the first",
    ),
    Pair(
        "outbox_adopt_after_ms",
        "outbox_lag_alarm_s",
        "else the alarm is raised for rows that no other instance may publish yet",
        "raise the second",
    ),
    Pair(
        "dead_letters_kept_days",
        "operator_acts_kept_days",
        "else the operator's act is deleted before its dead letter, and the audit reports a letter that was discarded without a reason",
        "raise the second",
    ),
    Pair(
        "idle_in_transaction_timeout_ms",
        "kafka_session_timeout_ms",
        "else the next owner of a partition waits for the locks of a frozen process that has left its group",
        "lower the first",
    ),
    Pair(
        "kafka_request_timeout_ms",
        "kafka_session_timeout_ms",
        "else a process waits for a broker that was cut off until it has lost its partitions itself",
        "lower the first",
    ),
)


def at_odds(settings: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each pair of limits that cannot work together."""
    for pair in PAIRS:
        if _in_ms(settings, pair.smaller) >= _in_ms(settings, pair.larger):
            smaller, larger = _variable(pair.smaller), _variable(pair.larger)
            yield f"{smaller} must be smaller than {larger}: {pair.why}; {pair.change}"
    yield from _too_many_rows(settings)
    yield from _too_slow(settings)
    yield from _given_up_unasked(settings)
    if WRITES_OF_A_SERVICE_MAX * settings["gather_transactions_max"] >= settings["database_connections_max"]:
        yield (
            f"{PREFIX}DATABASE_CONNECTIONS_MAX must be more than {WRITES_OF_A_SERVICE_MAX} times {PREFIX}GATHER_TRANSACTIONS_MAX, "
            "since a service has up to that many kinds of HTTP writes: else these leave no connection to the consumer; raise the first"
        )
    if settings["stop_failures_min"] > max(SUSPICION_RECORDS, settings["batch_max"]):
        yield (
            f"{PREFIX}STOP_FAILURES_MIN must not be more than {SUSPICION_RECORDS}, or than {PREFIX}BATCH_MAX where that is more: "
            "else no bad deployment is recognised, and every record is parked; lower the first"
        )


def _too_many_rows(settings: Mapping[str, Any]) -> Iterator[str]:
    for name in ("batch_max", "gather_max"):
        if settings[name] * ORDER_LINES_MAX > OUTBOX_BLOCK_IDS:
            yield (
                f"{_variable(name)} must not be more than {OUTBOX_BLOCK_IDS // ORDER_LINES_MAX}: with {ORDER_LINES_MAX} lines an order one "
                f"transaction would write more outbox rows than it has ids ({OUTBOX_BLOCK_IDS}); lower it"
            )


def _too_slow(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings["statement_timeout_ms"] >= LOOP_LIMIT_S * 1000:
        yield (
            f"{PREFIX}STATEMENT_TIMEOUT_MS must be smaller than {LOOP_LIMIT_S * 1000:.0f}: else a loop of the runtime is started again before "
            "PostgreSQL ends the loop's statement, each time; lower it"
        )
    if settings["request_timeout_ms"] < 2 * SET_LOCK_WAIT_MS:
        yield (
            f"{PREFIX}REQUEST_TIMEOUT_MS must be at least {2 * SET_LOCK_WAIT_MS}: a gathered set waits {SET_LOCK_WAIT_MS} ms for a locked row "
            "before the requests that do not need the row go on; raise it"
        )
    if settings["batch_max"] * RECORD_MS_MAX > settings["idle_in_transaction_timeout_ms"]:
        yield (
            f"{PREFIX}IDLE_IN_TRANSACTION_TIMEOUT_MS must be at least {PREFIX}BATCH_MAX times {RECORD_MS_MAX}: else PostgreSQL ends a turn's "
            "transaction while the service decides about its records, each time; raise the first, or lower the second"
        )


def _given_up_unasked(settings: Mapping[str, Any]) -> Iterator[str]:
    """Order sends a request a few times and then gives up. By then the first must have been published, also if its process was killed."""
    adopt_after_s = settings["outbox_adopt_after_ms"] / 1000
    for deadline, asks in (
        ("stock_deadline_s", "stock_asks_max"),
        ("delivery_deadline_s", "asks_max"),
        ("compensation_deadline_s", "asks_max"),
    ):
        waits_s = sum(settings[deadline] * 2 ** min(n, DOUBLINGS_MAX) for n in range(min(settings[asks], 1_000)))
        if waits_s <= adopt_after_s:
            yield (
                f"{_variable(deadline)}, doubled with each of the {settings[asks]} asks of {_variable(asks)}, must be longer in all than "
                f"{PREFIX}OUTBOX_ADOPT_AFTER_MS: else an order gives up on a partner before another instance has published the request of a "
                "killed one; raise the first"
            )


def _in_ms(settings: Mapping[str, Any], name: str) -> float:
    value: float = settings[name]
    return value * 1000 if name.endswith("_s") else value


def _variable(name: str) -> str:
    return PREFIX + name.upper()
