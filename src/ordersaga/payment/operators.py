"""Operators' view of the intents that the gateway has not settled, and their act: try one now instead of at its due time.

An intent that a process carries out right now may be made due as well. If another process then makes the same call, it has the same
idempotency key, so the gateway acts once (`approval.py` `idempotency_key`).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging import acts
from ordersaga.messaging.acts import STALE, NotPossible, Operator
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.queries import queries
from ordersaga.payment.approval import REASONS
from ordersaga.payment.model import IntentKind
from ordersaga.said import Saying, read_back, say, sayings_of

sql: Final = queries(__file__)


class OpenIntent(Struct, rename="camel", frozen=True, kw_only=True):
    """A confirm or refund that the gateway has not settled. `dueAt`: its next try; null: a refund that waits for the confirm.

    `tries`: how often it was put off, for the reason in `message`; `said`: the reason as codes with values. Amounts in won.
    """

    id: UUID
    version: str
    kind: IntentKind
    payment_key: str
    order_id: UUID
    amount: int
    created_at: datetime
    due_at: datetime | None
    tries: int
    message: str | None
    said: tuple[Saying, ...]


class OpenIntents:
    """The open intents of the service. Each act is one transaction with its row in the trail. Raises `NotPossible`."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool: Final = pool
        self._clock: Final = clock

    async def of_order(self, order_id: UUID) -> list[OpenIntent]:
        """The open intents of an order's payments, the oldest first."""
        async with self._pool.acquire() as db:
            return [_intent(row) for row in await sql.open_intents_of_order(db, order_id=order_id)]

    async def retry(self, intent_id: UUID, operator: Operator, version: str | None = None) -> OpenIntent:
        """Make an intent due now. `version`: the intent's version when the operator saw it; None: any version will do."""
        async with self._pool.acquire() as db, db.transaction():
            before = await _locked(db, intent_id)
            if version not in (None, before.version):
                raise NotPossible("the gateway was tried since this was shown; look at it again", title=STALE)
            if before.due_at is None:
                raise NotPossible(
                    say(
                        "refused.confirm_first",
                        "this refund waits for the outcome of its confirm; retry the confirm",
                    )
                )
            now = self._clock()
            await sql.make_intent_due(db, id=intent_id, now=now)
            states = ({"due_at": before.due_at.isoformat(), "tries": before.tries}, {"due_at": now.isoformat()})
            what = f"retry {before.kind.lower()}"
            await acts.add(db, operator, what, before.payment_key, *states, now, before.order_id)
            return await _locked(db, intent_id)


async def _locked(db: Connection, intent_id: UUID) -> OpenIntent:
    row = await sql.lock_open_intent(db, id=intent_id)
    if row is None:
        raise NotPossible(
            f"payment has no open intent {intent_id}: the gateway may have settled it meanwhile", "UNKNOWN"
        )
    return _intent(row)


def _intent(row: object) -> OpenIntent:
    values = dict(row)  # type: ignore[call-overload]
    due_at = values["due_at"]
    version = f"{values['tries']}-{due_at:%Y%m%dT%H%M%S.%f}" if due_at else f"{values['tries']}-waits"
    said = sayings_of(read_back(values["message"] or "", REASONS))
    return OpenIntent(version=version, said=said, **values)
