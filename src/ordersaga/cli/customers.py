"""`customers erase` erases the personal data of one customer, in the databases of all services."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

import typer
from msgspec import Struct

from ordersaga.cli.operating import Who, Why, operator, run
from ordersaga.cli.options import load_settings, out
from ordersaga.contracts.messages import DeliveryRequestMessage
from ordersaga.contracts.topics import BY_MESSAGE, DEAD_LETTERS_KEPT_DAYS
from ordersaga.delivery import erasing as of_delivery
from ordersaga.messaging import acts, guests
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.database import Connection
from ordersaga.operations import erasing
from ordersaga.operations.erasing import Words
from ordersaga.order import erasing as of_order
from ordersaga.said import counted
from ordersaga.settings import SERVICES, ServiceName, Settings

app = typer.Typer(help="One customer's personal data.", no_args_is_help=True)

ACT: Final = "erase customer"
SHOWN_MAX: Final = 5


@app.callback()
def customers() -> None:
    """Makes Typer require the command's name although there is only one command."""


@app.command()
def erase(
    customer_id: Annotated[UUID, typer.Argument(help="the user's id, as the orders have it")],
    why: Why = None,
    who: Who = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be erased, and erase nothing")] = False,
) -> None:
    """Erase names, addresses, phones and memos of one customer from all four databases. It cannot be taken back.

    Orders, products, money and times stay, under the customer's id, so that the audit stays whole: `ordersaga verify` holds as before. Erased are
    the addresses of orders and deliveries, and what timelines, dead letters and the trail repeat of them.

    Refused, with nothing erased, while an order goes on, or a record of one is parked, unpublished or an open dead letter: they need the
    address. May be repeated: after a failure in between, the next run erases the rest.

    What Kafka has goes with its retention, which the command prints, and backups with yours.
    """
    by = None if dry_run else operator(who, why)
    settings = load_settings()
    found: Found = run(_erase(settings, customer_id, by))
    done = f"{counted(found.orders, 'address', 'addresses')} of orders and {found.deliveries} of deliveries"
    if by is None:
        out.print(f"would erase {done}, and what dead letters and the trail repeat of them")
    else:
        out.print(
            f"erased {done}, and what {counted(found.letters, 'dead letter')} and {counted(found.acts, 'act')} in the trail repeated of them"
        )
    if found.erased_before:
        out.print(f"{found.erased_before} had been erased before")
    for name in settings.foreign_partners:
        out.print(f"{name} is another team's service (ORDERSAGA_FOREIGN_PARTNERS): have them erase theirs")
    topic = BY_MESSAGE[DeliveryRequestMessage]
    out.print(
        f"Kafka keeps {topic.name} for {topic.kept_days} days and {topic.dead_letters} for {DEAD_LETTERS_KEPT_DAYS}, if their retention is ours; "
        "then its copies are gone, too. Logs have no personal data."
    )


class Found(Struct):
    """What an erasure has found, and what it has rewritten."""

    orders: int = 0
    deliveries: int = 0
    erased_before: int = 0
    letters: int = 0
    acts: int = 0


class Customer(Struct):
    """What the databases have of a customer."""

    orders: Sequence[of_order.Erasable]
    deliveries: Sequence[of_delivery.Erasable]

    @property
    def _both(self) -> list[of_order.Erasable | of_delivery.Erasable]:
        return [*self.orders, *self.deliveries]

    @property
    def order_ids(self) -> list[UUID]:
        return sorted({each.order_id for each in self._both})

    @property
    def words(self) -> Words:
        return Words([value for each in self._both for value in each.values])

    def told(self) -> Found:
        """How much there is to erase."""
        return Found(
            sum(not each.is_erased for each in self.orders),
            sum(not each.is_erased for each in self.deliveries),
            sum(each.is_erased for each in self._both),
        )


async def _erase(settings: Settings, customer_id: UUID, by: Operator | None) -> Found:
    """Look at all databases, then change them. `by` None: change nothing."""
    now = datetime.now(UTC)
    async with _databases(settings) as databases:
        customer = await _look(databases, customer_id)
        found = customer.told()
        if by is None:
            return found
        words, order_ids = customer.words, customer.order_ids
        for service, db in databases.items():
            theirs = await erasing.find(db, customer_id, order_ids)
            letters, acted = await erasing.erase(db, theirs, words, now)
            if service == "order":
                await of_order.erase(db, [each for each in customer.orders if not each.is_erased], words, now)
            if service == "delivery":
                await of_delivery.erase(db, [each for each in customer.deliveries if not each.is_erased], words, now)
            after = {"orders": len(order_ids), "letters": letters, "acts": acted}
            await acts.add(db, Operator(by.who, words.without(by.why)), ACT, customer_id, {}, after, now)
            found.letters += letters
            found.acts += acted
    return found


@contextlib.asynccontextmanager
async def _databases(settings: Settings) -> AsyncIterator[dict[ServiceName, Connection]]:
    """The databases of our services, each in a transaction. Order's is committed last: the others are found by what it has. Any that does not
    answer fails all."""
    async with contextlib.AsyncExitStack() as stack:
        found: dict[ServiceName, Connection] = {}
        for service in SERVICES:
            if service not in settings.foreign_partners:
                db = await stack.enter_async_context(guests.connection(settings.database_url(service), settings))
                await stack.enter_async_context(db.transaction())
                found[service] = db
        yield found


async def _look(databases: Mapping[ServiceName, Connection], customer_id: UUID) -> Customer:
    """What there is of a customer. Raises `NotPossible` if there is nothing, or if some of it is still needed."""
    customer = Customer([], [])
    if "order" in databases:
        customer.orders = await of_order.lock(databases["order"], customer_id)
    if "delivery" in databases:
        customer.deliveries = await of_delivery.lock(databases["delivery"], customer_id, customer.order_ids)
    if not customer.order_ids:
        raise NotPossible(f"no order of customer {customer_id} is here; nothing was changed", "UNKNOWN")
    going_on = [str(each.order_id) for each in customer.orders if each.needs_its_address]
    if going_on:
        more = f" and {len(going_on) - SHOWN_MAX} more" if len(going_on) > SHOWN_MAX else ""
        raise NotPossible(
            f"orders go on, or their money is to go back: {', '.join(going_on[:SHOWN_MAX])}{more}. Nothing was erased; cancel them, decide their returns, or wait until they end and are refunded"
        )
    for service, db in databases.items():
        still = await erasing.waiting(db, await erasing.find(db, customer_id, customer.order_ids))
        if still.is_something:
            raise NotPossible(
                f"{service} has {still.parked} parked records, {still.letters} open dead letters and {still.outbox} unpublished records of this "
                f"customer's orders. Nothing was erased; `ordersaga parked list` and `ordersaga dead-letters list`, each with --service {service}, show them"
            )
    return customer
