"""A record wakes the order that it is about, and one reading tells every stream; step 11 is believed even without Order."""

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from ordersaga.contracts import codec
from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.handler import Record
from ordersaga.settings import Settings
from ordersaga.web.accounts import User
from ordersaga.web.services import Unavailable
from ordersaga.web.shop import live as module
from ordersaga.web.shop.live import Live, Shown, Watched
from tests.unit.test_web_progress import order, paid, reserved

USER = User(UUID(int=2))
ORDER_ID = order().order_id


class Service:
    """Order as the shop sees it: what it says next, and how often it was asked."""

    def __init__(self) -> None:
        self.says: Shown | None = Shown(reserved())
        self.away = False
        self.asked = 0

    async def read(self, order_id: UUID, user: User, before: Shown) -> Shown | None:
        self.asked += 1
        if self.away:
            raise Unavailable("order")
        return self.says


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def live(service: Service) -> Live:
    live = Live(Settings(), service.read)
    live.listening = True
    return live


def record(message: m.Message, key: bytes | None = str(ORDER_ID).encode()) -> Record:
    return Record(BY_MESSAGE[type(message)].name, 0, 0, key, codec.encode(message), None, 0)


ANSWER = m.PaymentSuccessMessage(order_id=ORDER_ID, payment_key="key", amount=12_000, status="SUCCESS")
COMPLETED = m.OrderCompletedMessage(
    order_id=ORDER_ID, customer_id=UUID(int=2), status="ORD0002", total_amount=12_000, order_name="a cup"
)


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110  # the services here have no event to wait for
            await asyncio.sleep(0.005)


async def opened(service: Service, watched: Watched) -> None:
    """Wait until the order was read once, as each first stream has it read."""
    await until(lambda: service.asked > 0)
    await asyncio.sleep(0.01)


async def test_an_answer_that_order_commits_a_moment_later_is_seen(live: Live, service: Service) -> None:
    with live.watch(USER, Shown(reserved())) as watched:
        await opened(service, watched)
        live.hear(record(ANSWER))
        await until(lambda: service.asked > 2)  # nothing has changed yet
        service.says = Shown(reserved(payments=paid()))
        await until(lambda: watched.shown == service.says)


async def test_streams_of_one_order_share_one_reading(live: Live, service: Service) -> None:
    with live.watch(USER, Shown(reserved())) as first, live.watch(USER, Shown(reserved())) as second:
        assert first is second
        await opened(service, first)
        asked, changed = service.asked, first.changed
        service.says = Shown(order(status="COMPLETED"))
        live.hear(record(COMPLETED))
        await asyncio.wait_for(changed.wait(), 5)
        assert service.asked == asked + 1


async def test_step_11_completes_an_order_while_order_does_not_answer(live: Live, service: Service) -> None:
    with live.watch(USER, Shown(reserved(payments=paid()))) as watched:
        service.away = True
        live.hear(record(COMPLETED))
        await until(lambda: watched.shown.order.status == "COMPLETED")
        assert watched.shown.delivery_away, "the stream goes on until the tracking number is known"


@pytest.mark.parametrize("key", [None, b"not the order id"])
async def test_a_record_without_the_order_id_as_its_key_is_understood(
    live: Live, service: Service, key: bytes | None
) -> None:
    with live.watch(USER, Shown(reserved())) as watched:
        await opened(service, watched)
        service.says = Shown(order(status="COMPLETED"))
        live.hear(record(COMPLETED, key))
        await until(lambda: watched.shown == service.says)


async def test_records_of_other_orders_and_rubbish_read_nothing(live: Live, service: Service) -> None:
    with live.watch(USER, Shown(reserved())) as watched:
        await opened(service, watched)
        asked = service.asked
        other = m.PaymentSuccessMessage(order_id=uuid4(), payment_key="key", amount=1, status="FAILED")
        live.hear(record(other, str(other.order_id).encode()))
        live.hear(record(other, None))
        for value in (None, b"", b"{", b"\xff", b'{"orderId":1}'):
            live.hear(Record("payment-success-topic", 0, 0, None, value, None, 0))
        await asyncio.sleep(0.1)
        assert service.asked == asked


async def test_an_order_whose_records_are_missed_is_read_now_and_then(
    live: Live, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW_S", 0.05)
    with live.watch(USER, Shown(reserved())) as watched:
        await opened(service, watched)
        service.says = Shown(order(status="CANCELLED", reason="PAYMENT_EXPIRED"))
        await until(lambda: watched.shown == service.says)


async def test_without_kafka_orders_are_read_often_and_all_of_them_together_not_too_often(
    live: Live, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEAF_S", 0.05)
    live.listening = False
    with live.watch(USER, Shown(reserved())) as watched:
        await opened(service, watched)
        service.says = Shown(order(status="CANCELLED", reason="CUSTOMER_CANCELLED"))
        await until(lambda: watched.shown == service.says)
        monkeypatch.setattr(module, "READS_PER_S_MAX", 0.01)
        await asyncio.sleep(0.1)
        asked = service.asked
        await asyncio.sleep(0.2)
        assert service.asked <= asked + 1


async def test_nothing_is_left_when_the_last_stream_has_closed(live: Live, service: Service) -> None:
    with live.watch(USER, Shown(reserved())) as watched:
        await opened(service, watched)
    await asyncio.sleep(0.01)
    assert watched.task.done()
    asked = service.asked
    live.hear(record(COMPLETED))
    await asyncio.sleep(0.05)
    assert service.asked == asked
