"""The payment service, killed (SIGKILL) at each point between an intent and its outcome, and what another process makes of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID

import aiohttp
import pytest_asyncio

from ordersaga.contracts.messages import PaymentCancelledMessage, PaymentCancelRequestedMessage, PaymentSuccessMessage
from ordersaga.devstack import DevStack
from ordersaga.payment.waiting import CHANNEL
from tests.integration.payment_rig import Checkout, PaymentRig, free_port, payment_rig, until


@pytest_asyncio.fixture(loop_scope="session")
async def rig(stack: DevStack) -> AsyncIterator[PaymentRig]:
    async with payment_rig(stack) as rig:
        yield rig


class BlackHole:
    """A gateway that takes connections and does nothing of what is asked: as a network that loses a request on its way."""

    def __init__(self, listener: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._listener = listener
        self._asked: dict[socket.socket, bytes] = {}

    async def asked(self, path: str) -> bool:
        """Whether somebody has asked for this path."""
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._asked[connection] = b""
        for connection in self._asked:
            with suppress(BlockingIOError, ConnectionError):
                self._asked[connection] += connection.recv(65_536)
        return any(path.encode() in said for said in self._asked.values())

    def close(self) -> None:
        for connection in self._asked:
            connection.close()


@contextmanager
def black_hole() -> Iterator[BlackHole]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        nowhere = BlackHole(listener)
        try:
            yield nowhere
        finally:
            nowhere.close()


@asynccontextmanager
async def confirming(rig: PaymentRig, checkout: Checkout) -> AsyncIterator[None]:
    """A client that waits for the outcome, and will not get it. Inside, the intent is committed."""
    waiting = asyncio.create_task(rig.confirm(checkout))
    try:
        await until(lambda: rig.row(checkout.payment_key))
        yield
    finally:
        with suppress(aiohttp.ClientError):
            await waiting


@asynccontextmanager
async def payment_locked(rig: PaymentRig, checkout: Checkout) -> AsyncIterator[None]:
    """Nobody can save the payment's outcome meanwhile."""
    async with rig.db.acquire() as db, db.transaction():
        await db.execute("SELECT 1 FROM payment WHERE payment_key = $1 FOR UPDATE", checkout.payment_key)
        yield


def refund(checkout: Checkout) -> PaymentCancelRequestedMessage:
    return PaymentCancelRequestedMessage(
        order_id=UUID(checkout.order_id),
        payment_key=checkout.payment_key,
        amount=checkout.amount,
        reason="OUT_OF_STOCK",
    )


async def comes_out_approved(rig: PaymentRig, checkout: Checkout) -> None:
    """Another process finishes it: one capture, one record, one message."""
    if all(process.returncode is not None for process in rig.processes):
        await rig.start()
    [told] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
    assert (told.status, told.amount) == ("SUCCESS", checkout.amount)
    row = await rig.row(checkout.payment_key)
    assert row is not None
    assert (row["status"], row["captured"]) == ("APPROVED", checkout.amount)
    await rig.books_agree()


async def comes_out_refunded(rig: PaymentRig, checkout: Checkout) -> None:
    await rig.start()
    [told] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert told.status == "SUCCESS"
    row = await rig.row(checkout.payment_key)
    assert row is not None
    assert (row["status"], row["refunded"]) == ("CANCELLED", checkout.amount)
    [entry] = await rig.at_gateway(checkout.order_id)
    assert (entry["status"], entry["balanceAmount"]) == ("CANCELED", 0)
    await rig.books_agree()


async def refund_noted(rig: PaymentRig, checkout: Checkout) -> None:
    query = "SELECT 1 FROM intent WHERE payment_key = $1 AND kind = 'REFUND'"
    await until(lambda: rig.db.fetchval(query, checkout.payment_key))


async def refunded_at_gateway(rig: PaymentRig, checkout: Checkout) -> bool:
    return any(each["status"] == "CANCELED" for each in await rig.at_gateway(checkout.order_id))


async def declined_at_gateway(rig: PaymentRig, checkout: Checkout) -> bool:
    return any(each["status"] == "ABORTED" for each in await rig.at_gateway(checkout.order_id))


async def outcome_waits_for_the_lock(rig: PaymentRig) -> bool:
    """Whether the service has the gateway's answer and is about to save it."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await rig.db.fetchval(waiting))


async def calls(rig: PaymentRig, call: str) -> int:
    """How many calls of a kind have reached the gateway since its faults were set."""
    async with rig.http.get(f"{rig.sandbox}/sandbox/calls") as response:
        return sum((await response.json()).get(call, {}).values())


async def more_calls(rig: PaymentRig, call: str, than: int) -> bool:
    return await calls(rig, call) > than


async def test_killed_before_the_confirm_reaches_the_gateway(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    with black_hole() as nowhere:
        process = await rig.start(ORDERSAGA_GATEWAY_URL=nowhere.url)
        async with confirming(rig, checkout):
            await until(lambda: nowhere.asked("/confirm"))
            await rig.kill(process)
    assert not await rig.captured(checkout)
    await comes_out_approved(rig, checkout)


async def test_killed_while_the_gateway_works_and_captures_after_our_death(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    process = await rig.start()
    await rig.faults(orders={checkout.order_id: {"confirm": {"outcome": "approve", "latencyMs": 1_000, "times": 1}}})
    async with confirming(rig, checkout):
        await until(lambda: calls(rig, "confirm"))
        await rig.kill(process)
    assert not await rig.captured(checkout)
    await comes_out_approved(rig, checkout)


async def test_killed_while_the_gateway_works_and_drops_it(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    process = await rig.start()
    await rig.faults(orders={checkout.order_id: {"confirm": {"outcome": "dropped", "latencyMs": 1_000, "times": 1}}})
    async with confirming(rig, checkout):
        await until(lambda: calls(rig, "confirm"))
        await rig.kill(process)
    await comes_out_approved(rig, checkout)


async def test_killed_after_the_capture_before_its_outcome_is_saved(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    process = await rig.start()
    await rig.faults(orders={checkout.order_id: {"confirm": {"outcome": "approve", "latencyMs": 500}}})
    async with confirming(rig, checkout), payment_locked(rig, checkout):
        await until(lambda: rig.captured(checkout))
        await until(lambda: outcome_waits_for_the_lock(rig))
        await rig.kill(process)
    await comes_out_approved(rig, checkout)


async def test_killed_after_a_decline_before_its_outcome_is_saved(rig: PaymentRig) -> None:
    checkout = await rig.checkout("REJECT_CARD_COMPANY")
    process = await rig.start()
    await rig.faults(latencyMs=500)
    async with confirming(rig, checkout), payment_locked(rig, checkout):
        await until(lambda: declined_at_gateway(rig, checkout))
        await until(lambda: outcome_waits_for_the_lock(rig))
        await rig.kill(process)
    await rig.faults()
    await rig.start()
    [told] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
    assert told.status == "FAILED"
    await rig.books_agree()


async def test_killed_after_the_outcome_is_saved_before_it_is_told(rig: PaymentRig) -> None:
    """Kafka is out of reach, so the message stays in the outbox of a process that dies."""
    checkout = await rig.checkout()
    process = await rig.start(ready=False, ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    status, payment = await rig.confirm(checkout)
    assert (status, payment["status"]) == (200, "APPROVED")
    await rig.kill(process)
    assert await rig.db.fetchval("SELECT count(*) FROM outbox") == 1
    await comes_out_approved(rig, checkout)


async def test_a_living_process_finishes_what_a_killed_one_left(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    with black_hole() as nowhere:
        doomed = await rig.start(ORDERSAGA_GATEWAY_URL=nowhere.url)
        async with confirming(rig, checkout):
            await rig.start(ready=False, ORDERSAGA_HTTP_PORT=str(free_port()))
            await rig.kill(doomed)
    await comes_out_approved(rig, checkout)


async def test_a_slow_gateway_is_not_asked_a_second_time_by_others_while_the_first_asker_lives(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.start()
    await rig.start(ready=False, ORDERSAGA_HTTP_PORT=str(free_port()))
    await rig.faults(orders={checkout.order_id: {"confirm": {"outcome": "approve", "latencyMs": 5_000}}})
    status, payment = await rig.confirm(checkout, prefer="wait=15")
    assert (status, payment["status"]) == (200, "APPROVED")
    tries = "SELECT tries FROM intent WHERE payment_key = $1"
    assert await rig.db.fetchval(tries, checkout.payment_key) == 0, "taken up by nobody: its lease was held"
    await comes_out_approved(rig, checkout)


async def test_a_repeat_at_another_process_waits_for_the_outcome_of_the_first(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.start()
    port = free_port()
    await rig.start(ready=False, ORDERSAGA_HTTP_PORT=str(port))
    await until(lambda: rig.answers(f"http://127.0.0.1:{port}/health/live"))
    await rig.faults(orders={checkout.order_id: {"confirm": {"outcome": "approve", "latencyMs": 1_000}}})
    told: asyncio.Queue[object] = asyncio.Queue()
    async with rig.db.acquire() as db:
        await db.add_listener(CHANNEL, lambda *news: told.put_nowait(news[-1]))
        async with confirming(rig, checkout):
            status, payment = await rig.confirm(checkout, url=f"http://127.0.0.1:{port}")
        assert (status, payment["status"]) == (200, "APPROVED")
        assert await asyncio.wait_for(told.get(), 1), "the settlement names the process that made it"
        await db.reset()
    await comes_out_approved(rig, checkout)


async def test_killed_again_and_again_under_load_with_a_failing_gateway_the_books_agree_to_the_won(
    rig: PaymentRig,
) -> None:
    checkouts = [await rig.checkout(amount=1_000 + n) for n in range(300)]
    shares = {"answer-lost": 10, "dropped": 10, "PROVIDER_ERROR": 10, "REJECT_CARD_COMPANY": 10, "bad-gateway": 5}
    await rig.faults(seed=11, latencyMs=50, jitterMs=300, percent={"confirm": shares, "get": {"dropped": 5}})
    process = await rig.start()

    async def insist(checkout: Checkout) -> str:
        while True:
            with suppress(aiohttp.ClientError):
                status, payment = await rig.confirm(checkout)
                if status == 200:
                    return str(payment["status"])
            await asyncio.sleep(0.2)

    clients = [asyncio.create_task(insist(each)) for each in checkouts]
    for _ in range(3):
        before = await calls(rig, "confirm")
        await until(lambda: more_calls(rig, "confirm", before))  # noqa: B023  # awaited within the round
        await rig.kill(process)
        process = await rig.start()
    outcomes = await asyncio.gather(*clients)
    for checkout, outcome in zip(checkouts, outcomes, strict=True):
        told = await rig.told(checkout.payment_key, PaymentSuccessMessage)
        assert {each.status for each in told} == {"SUCCESS" if outcome == "APPROVED" else "FAILED"}
    assert await rig.books_agree() == len(checkouts)


async def approved(rig: PaymentRig) -> tuple[Checkout, "asyncio.subprocess.Process"]:
    checkout = await rig.checkout()
    process = await rig.start()
    status, payment = await rig.confirm(checkout)
    assert (status, payment["status"]) == (200, "APPROVED")
    return checkout, process


async def test_killed_before_the_refund_reaches_the_gateway(rig: PaymentRig) -> None:
    checkout, process = await approved(rig)
    await rig.kill(process)
    with black_hole() as nowhere:
        process = await rig.start(ORDERSAGA_GATEWAY_URL=nowhere.url)
        await rig.publish(refund(checkout))
        await refund_noted(rig, checkout)
        await until(lambda: nowhere.asked(checkout.payment_key))  # it looks at the payment first
        await rig.kill(process)
    assert not await refunded_at_gateway(rig, checkout)
    await comes_out_refunded(rig, checkout)


async def test_killed_while_the_gateway_refunds_after_our_death(rig: PaymentRig) -> None:
    checkout, process = await approved(rig)
    await rig.faults(orders={checkout.order_id: {"cancel": {"outcome": "approve", "latencyMs": 1_500, "times": 1}}})
    await rig.publish(refund(checkout))
    await until(lambda: calls(rig, "cancel"))
    await rig.kill(process)
    assert not await refunded_at_gateway(rig, checkout)
    await comes_out_refunded(rig, checkout)


async def test_killed_after_the_refund_before_its_outcome_is_saved(rig: PaymentRig) -> None:
    checkout, process = await approved(rig)
    await rig.faults(orders={checkout.order_id: {"cancel": {"outcome": "approve", "latencyMs": 700}}})
    await rig.publish(refund(checkout))
    await refund_noted(rig, checkout)
    async with payment_locked(rig, checkout):
        await until(lambda: refunded_at_gateway(rig, checkout))
        await until(lambda: outcome_waits_for_the_lock(rig))
        await rig.kill(process)
    await comes_out_refunded(rig, checkout)


async def test_wrong_keys_fail_no_order_and_are_seen_and_all_goes_on_once_they_are_right(rig: PaymentRig) -> None:
    checkouts = [await rig.checkout() for _ in range(5)]
    process = await rig.start(ORDERSAGA_GATEWAY_SECRET_KEY="test_sk_wrong")
    answers = await asyncio.gather(*(rig.confirm(each, prefer="wait=1") for each in checkouts))
    assert {(status, payment["status"]) for status, payment in answers} == {(202, "PENDING")}
    async with rig.http.get(f"{rig.url}/health/ready") as response:
        assert response.status == 200
        assert any("UNAUTHORIZED_KEY" in each["what"] for each in (await response.json())["alarms"])
    await rig.kill(process)
    await rig.db.execute("UPDATE intent SET due_at = due_at - interval '1 minute'")
    await rig.start()
    for each in checkouts:
        [told] = await rig.told(each.payment_key, PaymentSuccessMessage)
        assert told.status == "SUCCESS"
    await rig.books_agree()


async def test_a_process_told_to_stop_finishes_what_is_under_way(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    process = await rig.start()
    await rig.faults(orders={checkout.order_id: {"confirm": {"outcome": "approve", "latencyMs": 1_000}}})
    async with confirming(rig, checkout):
        process.terminate()
    await process.wait()
    row = await rig.row(checkout.payment_key)
    assert row is not None
    assert row["status"] == "APPROVED"
    assert await rig.db.fetchval("SELECT count(*) FROM outbox") == 0
    [_] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
