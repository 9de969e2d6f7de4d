"""Operator acts: one audit row for each act (who, when, what, target, why), written in the act's own transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import storable

sql: Final = queries(__file__)


class NotPossible(Exception):
    """An act that is refused, with the reason for the operator. Nothing was changed."""


class Operator(Struct, frozen=True):
    """The person who acts, and the reason that the person gives."""

    who: str
    why: str


class Act(Struct, frozen=True):
    """One audit row. `target`: a dead letter's id, or the topic/partition/offset of a parked record."""

    at: datetime
    who: str
    what: str
    target: str
    why: str
    before: dict[str, Any]
    after: dict[str, Any]


async def add(
    db: Connection,
    operator: Operator,
    what: str,
    target: object,
    before: dict[str, Any],
    after: dict[str, Any],
    now: datetime,
) -> None:
    """Write the audit row of an act, in the act's own transaction."""
    await sql.add_operator_act(
        db,
        now=now,
        who=storable(operator.who),
        what=what,
        target=str(target),
        why=storable(operator.why),
        before=_json(before),
        after=_json(after),
    )


async def about(db: Connection, targets: Sequence[object]) -> list[Act]:
    """The acts on these targets, in order."""
    rows = await sql.operator_acts(db, targets=[str(target) for target in targets])
    return [
        Act(
            row["at"],
            row["who"],
            row["what"],
            row["target"],
            row["why"],
            msgspec.json.decode(row["before"]),
            msgspec.json.decode(row["after"]),
        )
        for row in rows
    ]


def _json(values: dict[str, Any]) -> str:
    shown = {name: storable(value) if isinstance(value, str) else value for name, value in values.items()}
    return msgspec.json.encode(shown).decode()
