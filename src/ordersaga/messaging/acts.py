"""Operator acts: one audit row for each act (who, when, what, target, why), written in the act's own transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.messaging.refusal import FieldError, RefusalKind
from ordersaga.messaging.texts import storable

sql: Final = queries(__file__)

REFUSED: Final = "This cannot be done"
STALE: Final = "Somebody else has acted"


class NotPossible(Exception):
    """The act is refused, for the reason in the text. Nothing was changed.

    `kind` is that of a `Refusal`; `title` is the same for all refusals for one reason; `errors` names the fields that are to blame, if any.
    """

    def __init__(
        self,
        reason: str,
        kind: RefusalKind = "CONFLICT",
        title: str = REFUSED,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(reason)
        self.kind: Final[RefusalKind] = kind
        self.title: Final = title
        self.errors: Final = tuple(errors)


class Operator(Struct, frozen=True):
    """The person who acts, and the reason that the person gives. `job_id`: the bulk job that acts for that person."""

    who: str
    why: str
    job_id: UUID | None = None


class Act(Struct, frozen=True):
    """One audit row.

    `target`: a dead letter's id, the topic/partition/offset of a parked record, a topic/partition, or an order's id.
    """

    at: datetime
    who: str
    what: str
    target: str
    why: str
    before: dict[str, Any]
    after: dict[str, Any]
    job_id: UUID | None = None


async def add(
    db: Connection,
    operator: Operator,
    what: str,
    target: object,
    before: dict[str, Any],
    after: dict[str, Any],
    now: datetime,
    order_key: UUID | None = None,
) -> None:
    """Write the audit row of an act, in the act's own transaction. `order_key`: the order that the act is about, in whose trail it is."""
    await sql.add_operator_act(
        db,
        now=now,
        who=storable(operator.who),
        what=what,
        target=str(target),
        order_key=order_key,
        job_id=operator.job_id,
        why=storable(operator.why),
        before=_json(before),
        after=_json(after),
    )


async def about(db: Connection, targets: Sequence[object]) -> list[Act]:
    """The acts on these targets, in order."""
    rows = await sql.operator_acts(db, targets=[str(target) for target in targets])
    return [_act(row) for row in rows]


async def page(
    db: Connection,
    target: str | None,
    who: str | None,
    before_id: int | None,
    rows_max: int,
    order_key: UUID | None = None,
    job_id: UUID | None = None,
    by_jobs: bool = True,
) -> list[tuple[int, Act]]:
    """Acts with their numbers, the latest first: those with a number below `before_id`; on one target, by one operator, about one order, of one
    bulk job if given. `by_jobs` False: without the acts of all bulk jobs."""
    rows = await sql.operator_acts_page(
        db,
        target=target,
        who=who,
        order_key=order_key,
        job_id=job_id,
        by_jobs=by_jobs,
        before_id=before_id,
        rows_max=rows_max,
    )
    return [(row["id"], _act(row)) for row in rows]


def _act(row: Any) -> Act:
    return Act(
        row["at"],
        row["who"],
        row["what"],
        row["target"],
        row["why"],
        msgspec.json.decode(row["before"]),
        msgspec.json.decode(row["after"]),
        row["job_id"],
    )


def _json(values: dict[str, Any]) -> str:
    shown = {name: storable(value) if isinstance(value, str) else value for name, value in values.items()}
    return msgspec.json.encode(shown).decode()
