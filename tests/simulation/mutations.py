"""Guards of the runtime and the services, each with a patch that takes the guard out. The explorer must then find a broken promise.

`make mutations` takes out one guard after the other, and prints the first seed whose history breaks a promise.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, Final
from unittest.mock import patch

import asyncpg
from msgspec import Struct
from msgspec.structs import replace

import ordersaga.delivery.store
import ordersaga.order.store
import ordersaga.payment.store
import ordersaga.stock.store
from ordersaga.messaging import (
    consuming,
    idempotency,
    isolation,
    ledger,
    outbox,
    parking,
    queries,
    retries,
    sqlstate,
    turn,
)
from ordersaga.messaging.bad_deployment import BadDeployment
from ordersaga.messaging.handler import Batch
from ordersaga.messaging.kafka import KafkaUnavailable, Publisher
from ordersaga.messaging.short_transaction import Known, ShortTransaction, _Compared
from ordersaga.messaging.timers import Timers
from ordersaga.messaging.unpublished import Unpublished
from ordersaga.messaging.watching import Watching
from ordersaga.order import refunds
from ordersaga.order.decision import Decision
from ordersaga.payment.model import Account
from ordersaga.stock import commands
from tests.simulation.plan import BATCH_REFUSED, Fault, Plan

RETRIES_SUSPECTED: Final = 4
FENCES: Final = ("fence", "fence_at_end")
STEP: Final = retries.Retries.step
ALL_OF: Final = Known.all_of

Aim = Callable[[Plan], Plan]


class Mutation(Struct, frozen=True):
    """A guard, what it prevents, and a seed whose history breaks a promise without the guard (when this was written).

    A guard that few random histories need has an `aim`, which changes the plan of a seed so that most schedules reach the guard.
    `found_at` is then a seed of aimed plans.
    """

    name: str
    prevents: str
    found_at: int
    patches: Sequence[Callable[[], Any]]
    aim: Aim | None = None

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Take the guard out within this context. Raises `LookupError` if the patched query has changed."""
        with contextlib.ExitStack() as stack:
            for each in self.patches:
                stack.enter_context(each())
            yield


def _aim(
    *faults: Fault,
    own_payment: bool = False,
    stock: int = 50,
    processes: int = 2,
    apart_s: float = 0.0,
    **of_each_order: Any,
) -> Aim:
    """Only these faults, so many processes of each service, two partitions of each topic, and customers who come `apart_s` seconds apart."""

    def aim(plan: Plan) -> Plan:
        services = ("order", "stock", "delivery", *(["payment"] if own_payment else []))
        return replace(
            plan,
            orders=tuple(replace(each, begins_s=each.number * apart_s, **of_each_order) for each in plan.orders),
            faults=faults,
            instances=dict.fromkeys(services, processes),
            stock=(stock,) * len(plan.stock),
            partitions=2,
            own_payment=own_payment,
            pay_within_s=20,
        )

    return aim


def _query(module: ModuleType, old: str, new: str, *names: str) -> Callable[[], Any]:
    """Replace what a regular expression finds in these queries of a module."""

    def make() -> Any:
        head, *texts = queries.file_of(module.__file__ or "").read_text().split("-- name: ")
        for n, query in enumerate(texts):
            if re.split(r"\W", query)[0] in names:
                if not re.search(old, query):
                    raise LookupError(f"a query of {module.__name__} has changed: {old!r} is not in\n{query}")
                texts[n] = re.sub(old, new, query)
        return patch.object(module, "sql", queries.queries_in("-- name: ".join([head, *texts])))

    return make


def _code(owner: Any, name: str, new: Any) -> Callable[[], Any]:
    """Replace a function or method."""
    return lambda: patch.object(owner, name, new)


async def _nothing(*_: Any, **__: Any) -> int:
    return 0


def _compares_nothing(transaction: ShortTransaction, _: int) -> Any:
    """No row is compared at the end of the transaction."""
    return _Compared([], 0)


def _believes_what_it_knows(self: Known[Any], keys: Any, short: ShortTransaction) -> Any:
    """What the process has written last is not compared with the rows."""
    found = ALL_OF(self, keys, short)
    if found is not None:
        vars(short)["compared"] = lambda _: _Compared([], 0)
    return found


async def _finish_at_once(self: Any, publications: Any, acknowledged: Any, now: Any) -> None:
    """Delete outbox rows without waiting for the broker."""
    acknowledged.add_done_callback(lambda done: done.cancelled() or done.exception())
    async with self._pool.acquire() as db, db.transaction():
        await outbox.sql.delete_outbox(db, ids=[each.id for each in publications])


def _none_waits(self: Any, incoming: Any) -> Any:
    return incoming, []


async def _isolate_each(db: Any, handle: Any, batch: Any, **_: Any) -> Any:
    """Try every record alone; none waits behind a failed one of its key."""
    outcome = isolation.HandledBatch([], [], [], [])
    for each in batch.incoming:
        part = Batch([each], batch.now, batch.new_id)
        try:
            async with db.transaction():
                outcome.outgoing.extend(await handle(part, db))
        except Exception as error:
            if sqlstate.is_transient(error) or sqlstate.is_deployment(error):
                raise
            outcome.failed.append(isolation.FailedRecord(each, type(error).__name__, str(error)))
        outcome.rejected.extend(part.rejected)
    return outcome


async def _doubt_nothing(self: Any, error: Exception) -> float:
    return 0.1


async def _all_are_there(db: Any, parked: Any) -> Any:
    return parked


async def _insert_if_new(db: Any, table: str, columns: Any, rows: Any) -> None:
    """Ignore that another process has inserted these rows."""
    with contextlib.suppress(asyncpg.UniqueViolationError):
        async with db.transaction():
            await db.copy_records_to_table(table, columns=columns, records=rows)


async def _all_are_new(db: Any, keys: Any, now: Any) -> list[None]:
    return [None] * len(keys)


async def _judge_retries(*arguments: Any) -> Any:
    """Take several retries that fail at once for a bad deployment."""
    outcome = await isolation.isolate(*arguments)
    if len(outcome.failed) >= RETRIES_SUSPECTED:
        raise BadDeployment(f"{len(outcome.failed)} retries failed")
    return outcome


async def _step_to_the_end(self: Any) -> bool:
    """Keep fresh records waiting until no record is parked."""
    more = await STEP(self)
    while self._parking.holds_any:
        await asyncio.sleep(retries.RETRY_EVERY_S)
        more = await STEP(self)
    return more


async def _postpone_nothing(self: Any, due: Any, error: Exception) -> None:
    raise error


async def _begin_again(self: Any, publications: Any, refused: Any, now: Any) -> None:
    """Take a refusal for an unavailable Kafka."""
    raise KafkaUnavailable(refused[0].reason)


def _refuse_each(self: Any, each: Any, ticket: Any) -> None:
    """Take the refusal of a batch for the refusal of each of its records."""
    ticket.refuse(each, "its batch was refused")


def _version_by_clock(before: int, now: Any) -> int:
    return int(now.timestamp() * 1000)


def _refund_of_amount(self: Account, request_id: str | None, amount: int) -> Any:
    """Take two refunds of the same amount for one, whatever their request ids."""
    refunds = [each for each in self.intents.values() if each.kind == "REFUND" and each.amount == amount]
    return refunds[0] if refunds else None


def _heed_nothing_unasked(order: Any, known: Any, left: int, answer: Any) -> Any:
    return Decision(order)


NO_SHORT_TURN: Final = _code(turn, "SHORT_MAX", 0)
"""Rows are locked when they are read: a short turn compares them instead."""

MUTATIONS: Final = (
    Mutation(
        "fence",
        "a zombie commits what its successor has handled",
        2,
        [_query(ledger, " AND l.epoch = t.epoch AND l.next_offset = t.expected_offset", "", *FENCES)],
    ),
    Mutation(
        "epoch",
        "a zombie goes on after its successor has begun",
        3,
        [_query(ledger, "l.epoch = t.epoch AND ", "", *FENCES)],
    ),
    Mutation(
        "ledger write",
        "a record takes effect again after a restart",
        0,
        [_query(ledger, "SET next_offset = t.next_offset", "SET next_offset = l.next_offset", *FENCES)],
    ),
    Mutation(
        "publish what is left",
        "outputs of a dead process are lost",
        1,
        [_code(outbox.Outbox, "publish_left", _nothing)],
    ),
    Mutation(
        "adoption", "messages of a dead process's requests are lost", 5, [_code(outbox.Outbox, "adopt", _nothing)]
    ),
    Mutation(
        "acknowledgement",
        "outputs that never arrived are forgotten",
        3,
        [_code(outbox.Outbox, "_finish", _finish_at_once)],
        _aim(*(Fault("crash before", who, "publish", n) for who in ("order-1", "stock-1") for n in (1, 4, 7))),
    ),
    Mutation(
        "doubt",
        "a process believes in a commit that failed",
        0,
        [_code(consuming.Consuming, "_back_off", _doubt_nothing)],
        _aim(*(Fault("fail before", who, "commit", n) for who in ("order-1", "stock-1") for n in (3, 5, 7))),
    ),
    Mutation(
        "parked keys",
        "a record overtakes a parked one of its key",
        3,
        [_code(parking.Parking, "split", _none_waits)],
    ),
    Mutation(
        "held records",
        "a record overtakes one that fails in its batch",
        2,
        [_code(each, "isolate", _isolate_each) for each in (turn, isolation)],
    ),
    Mutation(
        "parked are still there",
        "a record is handled that an operator has discarded",
        11,
        [_code(parking.Parking, "lock", staticmethod(_all_are_there))],
    ),
    Mutation(
        "lock position",
        "an operator and the partition's owner work on one queue",
        0,
        [_query(ledger, "FOR UPDATE", "", "lock_position")],
        _aim(
            Fault("poison", "stock", "StockDecreaseRequestMessage", 1, amount=2),
            Fault("written again", "stock", "StockDecreaseRequestMessage", 1),
            Fault("operator", "stock", "parks", 2, amount=2),
        ),
    ),
    Mutation(
        "idempotency key",
        "an order is placed twice",
        0,
        [_code(idempotency, "claim", _all_are_new)],
        _aim(*(Fault("fail after", who, "commit", n) for who in ("order-1", "order-2") for n in range(1, 9))),
    ),
    Mutation("timers", "an order waits for ever for an answer that is lost", 0, [_code(Timers, "fire", _nothing)]),
    Mutation(
        "lock orders",
        "two answers about an order undo each other",
        6,
        [NO_SHORT_TURN, _query(ordersaga.order.store, "FOR UPDATE OF s", "", "lock_orders")],
        _aim(
            *(Fault("written twice", "world", "DeliveryStartMessage", n) for n in (1, 2)), pay="well", deliverable=True
        ),
    ),
    Mutation(
        "compare what was read",
        "two answers about an order undo each other in short turns, which lock nothing",
        6,
        [_code(ShortTransaction, "compared", _compares_nothing)],
        _aim(
            *(Fault("written twice", "world", "DeliveryStartMessage", n) for n in (1, 2)), pay="well", deliverable=True
        ),
    ),
    Mutation(
        "compare what is known",
        "a process decides from what an order was before its customer cancelled it",
        0,
        [_code(Known, "all_of", _believes_what_it_knows)],
        _aim(processes=1, apart_s=0.2, pay="well", cancels_after_s=0.5, pays_after_s=0.8),
    ),
    Mutation(
        "lock available",
        "a piece is promised twice",
        6,
        [NO_SHORT_TURN, _query(ordersaga.stock.store, "FOR UPDATE", "", "lock_available")],
        _aim(
            *(Fault("freeze", "stock", "reads what is available", n, amount=100) for n in (1, 2)),
            stock=3,
            lines=((0, 2),),
        ),
    ),
    Mutation(
        "lock reservations",
        "a request and its rollback undo each other",
        3,
        [NO_SHORT_TURN, _query(ordersaga.stock.store, "FOR UPDATE", "", "lock_reservations")],
        _aim(*(Fault("written twice", "world", "StockRollbackRequestedMessage", n) for n in (1, 2)), pay="declined"),
    ),
    Mutation(
        "new reservations",
        "an order is reserved twice",
        3,
        [NO_SHORT_TURN, _code(ordersaga.stock.store, "insert_new", _insert_if_new)],
        _aim(*(Fault("written twice", "world", "StockDecreaseRequestMessage", n) for n in (1, 2))),
    ),
    Mutation(
        "new deliveries",
        "an order is told of a delivery that does not exist",
        4,
        [NO_SHORT_TURN, _code(ordersaga.delivery.store, "insert_new", _insert_if_new)],
        _aim(*(Fault("written twice", "world", "DeliveryRequestMessage", n) for n in (1, 2)), pay="well"),
    ),
    Mutation(
        "lock payments",
        "a refund is begun twice",
        0,
        [_query(ordersaga.payment.store, "FOR UPDATE( OF i)?", "", "lock_payments", "lock_intents")],
        _aim(
            *(Fault("written twice", "world", "PaymentCancelRequestedMessage", n) for n in (1, 2)),
            own_payment=True,
            pay="well",
            cancels_after_s=0.5,
        ),
    ),
    Mutation(
        "retries are no news",
        "old parked records stop a service at its restart",
        0,
        [_code(retries, "isolate", _judge_retries), _code(retries.Retries, "_postpone", _postpone_nothing)],
        _aim(Fault("parked at a restart", "stock", at_s=0.1, amount=6), processes=1),
    ),
    Mutation(
        "retries beside the turns",
        "fresh records wait until no record is parked",
        0,
        [_code(retries.Retries, "step", _step_to_the_end)],
        _aim(Fault("poison", "stock", "StockDecreaseRequestMessage", 1), processes=1, apart_s=0.3),
    ),
    Mutation(
        "refusals",
        "one record that Kafka refuses stops all others",
        6,
        [_code(outbox.Outbox, "_give_up_refused", _begin_again)],
    ),
    Mutation(
        "refusal of a batch",
        "good records become dead letters with a bad one",
        0,
        [_code(Publisher, "_produce_single", _refuse_each)],
        _aim(*(Fault(BATCH_REFUSED, who, "publish", n) for who in ("order-1", "stock-1") for n in (1, 4))),
    ),
    Mutation(
        "letters again",
        "a refused dead letter never reaches its topic",
        6,
        [_code(Unpublished, "publish", _nothing)],
    ),
    Mutation(
        "read-only",
        "records are blamed for a database that takes no write",
        0,
        [lambda: patch.dict(sqlstate.CLASSES, {"25": sqlstate.ErrorKind.RECORD})],
        _aim(*(Fault("read-only", who, at_s=0.3, amount=2) for who in ("order", "stock"))),
    ),
    Mutation(
        "markers",
        "a partition lags for ever behind what is no record",
        0,
        [_code(Watching, "_skip_gaps", _nothing)],
        _aim(Fault("transaction", "stock", at_s=0.1, amount=1)),
    ),
    Mutation(
        "price versions",
        "Order keeps a price that Stock has changed",
        2,
        [_code(commands, "next_version", _version_by_clock)],
        _aim(Fault("prices change", "stock", at_s=0.2, amount=4), Fault("clock jumps", "stock-1", amount=60)),
    ),
    Mutation(
        "unasked refunds",
        "Order believes in money that went back at the gateway",
        1,
        [_code(refunds, "_refunded_unasked", _heed_nothing_unasked)],
        _aim(*(Fault("dashboard cancel", "gateway", at_s=0.5, amount=n) for n in (2, 3)), own_payment=True, pay="well"),
    ),
    Mutation(
        "equal refunds",
        "the second of two equal parts is never given back",
        0,
        [_code(Account, "refund", _refund_of_amount)],
        _aim(Fault("equal parts", "payment", at_s=0.5), own_payment=True, pay="well"),
    ),
)
BY_NAME: Final = {mutation.name: mutation for mutation in MUTATIONS}
