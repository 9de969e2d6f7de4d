"""The customers of a history: each places an order, pays or does not, and may cancel or return it. An unanswered request is repeated.

The payment gateway's webhooks are sent in the same way.
"""

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from ordersaga.contracts import messages as m
from ordersaga.contracts.address import Address
from ordersaga.http.problems import Problem
from ordersaga.messaging.gather import OutcomeUnknown
from ordersaga.messaging.idempotency import IdempotencyKey
from ordersaga.messaging.sqlstate import is_transient
from ordersaga.order.api import NOT_YET
from ordersaga.order.commands import CustomerAct, Placed, Placement
from ordersaga.order.model import Facts, Line, Order
from ordersaga.order.operators import OperatorAct
from ordersaga.order.returns import CancelBeforeDelivery, Return
from ordersaga.payment.gateway import GatewayPayment
from ordersaga.payment.model import Confirm
from ordersaga.payment.webhooks import Hint
from ordersaga.stock.commands import ChangeProduct
from tests.simulation.operators import OPERATOR
from tests.simulation.plan import PRICE, PRODUCTS, OrderPlan
from tests.simulation.scheduler import Gone, Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

PATIENCE_S: Final = 4.0
AGAIN_AFTER_S: Final = 0.3
ASKS_MAX: Final = 60
OFTEN: Final = 10
ZIPCODES: Final = {True: "04524", False: "63001"}


def product_id(number: int) -> UUID:
    return UUID(int=0xA000 + number)


def customer_id(number: int) -> UUID:
    return UUID(int=0xC000 + number)


def visit(world: "World") -> None:
    """Start the customers of the plan."""
    for each in world.plan.orders:
        world.customers.spawn(_shop(world, each))


async def _shop(world: "World", plan: OrderPlan) -> None:
    await world.pause(plan.begins_s)
    order_id = await _place(world, plan)
    world.placed[plan.number] = order_id
    wishes = [_pay(world, plan, order_id)]
    if plan.cancels_after_s is not None:
        wishes.append(_act(world, plan, order_id, CancelBeforeDelivery(), plan.cancels_after_s))
    if plan.returns_after_s is not None:
        wishes.append(_act(world, plan, order_id, Return(), plan.returns_after_s))
    for wish in wishes:
        world.customers.spawn(wish)


async def _ask(world: "World", service: str, ask: Any) -> Any:
    """Ask one process of the service, and another when the first dies or is silent; the first may have done the work all the same."""
    for asked in range(ASKS_MAX):
        there = [each for each in world.instances.values() if each.service == service and each.is_ready]
        there = [each for each in there if each.process.alive]
        if there:
            instance = world.scheduler.random.choice(there)
            try:
                return await instance.process.call(ask(instance), PATIENCE_S)
            except (Gone, OutcomeUnknown):
                pass
            except Exception as error:  # 503: the database is in trouble
                if not is_transient(error):
                    raise
        await world.pause(AGAIN_AFTER_S * (1 if asked < OFTEN else OFTEN))
    raise Violation(f"no process of {service} answers")


async def _place(world: "World", plan: OrderPlan) -> UUID:
    recipient = Address("1 Street", None, ZIPCODES[plan.deliverable], "010", "A", None)
    facts = Facts(tuple(Line(product_id(product), quantity) for product, quantity in plan.lines))

    def ask(instance: Any) -> Any:
        id = world.new_id()
        customer = customer_id(plan.number)
        order = Order(id, customer, f"order {plan.number}", plan.total, recipient, NOT_YET, NOT_YET, facts)
        return instance.place(Placement(order, IdempotencyKey(str(customer), "k", b"h", id)))

    answer = await _ask(world, "order", ask)
    if not isinstance(answer, Placed):
        raise Violation(f"order {plan.number} was not placed: {answer}")
    return answer.order.order_id


async def _act(world: "World", plan: OrderPlan, order_id: UUID, wish: Any, after_s: float) -> None:
    await world.pause(after_s)
    await _ask(world, "order", lambda instance: instance.act(CustomerAct(order_id, customer_id(plan.number), wish)))


async def _pay(world: "World", plan: OrderPlan, order_id: UUID) -> None:
    if plan.pay == "not at all":
        return
    await world.pause(plan.pays_after_s)
    amount = plan.total + PRICE if plan.pay == "wrong amount" else plan.total
    for key in [f"key-{plan.number}"] + ([f"key-{plan.number}-again"] if plan.pay == "twice" else []):
        if world.plan.own_payment:
            await _confirm(world, plan, order_id, key, amount)
        else:
            status: Any = "FAILED" if plan.pay == "declined" else "SUCCESS"
            message = m.PaymentSuccessMessage(order_id=order_id, payment_key=key, amount=amount, status=status)
            await world.scheduler.do("world", f"payment of order {plan.number}", _writing(world, message, plan.keyless))


def _writing(world: "World", message: m.Message, keyless: bool) -> Any:
    async def write() -> None:
        world.write(message, keyless)

    return write


async def _confirm(world: "World", plan: OrderPlan, order_id: UUID, key: str, amount: int) -> None:
    """Authorise at the simulated gateway, then confirm at our own Payment. A refusal is an answer."""
    world.gateway.checkout(key, order_id, amount, declined=plan.pay == "declined")

    async def confirm(instance: Any) -> Any:
        try:
            return await instance.payments.confirm(
                Confirm(world.new_id(), key, order_id, amount, customer_id(plan.number), False), 0.0
            )
        except Problem as problem:
            return problem

    await _ask(world, "payment", confirm)


def send_webhooks(world: "World", payment: GatewayPayment) -> None:
    """Send the webhook of a changed payment never, once or twice, after up to a second."""
    for _ in range(world.scheduler.random.randrange(3)):
        send_webhook(world, payment)


def send_webhook(world: "World", payment: GatewayPayment) -> None:
    """Send the webhook once; an unanswered one is repeated."""
    world.customers.spawn(_send_webhook(world, payment, world.scheduler.random.uniform(0, 1)))


async def _send_webhook(world: "World", payment: GatewayPayment, after_s: float) -> None:
    await world.pause(after_s)

    def notify(instance: Any) -> Any:
        id = world.new_id()
        return instance.payments.request_look_up(Hint(id, payment.payment_key, UUID(payment.order_id), payment.status))

    await _ask(world, "payment", notify)


async def accept(world: "World", order_id: UUID) -> None:
    """An operator accepts the refund that somebody made at the gateway's dashboard."""
    await _ask(world, "order", lambda instance: instance.operate(OperatorAct(order_id, OPERATOR)))


def change_price(world: "World") -> None:
    """Change the price of the product that no customer orders."""
    price = PRICE + world.scheduler.random.randint(1, PRICE)
    change = ChangeProduct(product_id(PRODUCTS), None, price, None)
    world.operator.spawn(_ask(world, "stock", lambda instance: instance.change(change)))
