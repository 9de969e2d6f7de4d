"""Dead letters in both directions: a partner's are imported and replayed by our commands, ours are read and replayed by the partner's tool."""

from typing import Any, Final
from uuid import UUID, uuid4

from ordersaga.cli.demo import SCENARIOS
from ordersaga.cli.shop import Scenario
from ordersaga.settings import ServiceName
from tests.integration.service import Wire
from tests.interop.customers import SUCCEEDS
from tests.interop.pairing import Pairing, settled

WHY: Final = ("--why", "the partner has mended its bug")
UNDELIVERABLE: Final = next(each for each in SCENARIOS if each.expected[1] == "DELIVERY_FAILED")
INPUT: Final[dict[ServiceName, str]] = {
    "order": "stock-response-topic",
    "stock": "order-created",
    "payment": "payment-cancel-requested-topic",
    "delivery": "delivery-request-topic",
}
"""What the partner's listener gives up, by its role."""
SPOILT: Final[dict[ServiceName, tuple[str, str, str]]] = {
    "order": ("order-created", '"quantity":0', '"quantity":2'),
    "stock": ("stock-response-topic", '"DONE"', '"SUCCESS"'),
    "payment": ("payment-success-topic", '"DONE"', '"SUCCESS"'),
    "delivery": ("delivery-start-topic", '"DONE"', '"STARTED"'),
}
"""What the partner sends that no reader understands, with the wrong text and the right one."""


async def theirs_are_replayed_by_ours(pair: Pairing) -> None:
    """The partner's listener throws until it gives a record up; it is mended, and our replay has the order end as it must."""
    (role,) = pair.partner.kind.roles
    scenario = UNDELIVERABLE if role == "payment" else SUCCEEDS
    await pair.partner.bug("THROWS")
    order = await pair.customers.place(scenario, wait_s=1)
    if role in ("payment", "delivery"):
        await pair.customers.pay(order)
    letter = await _imported(pair, INPUT[role], UUID(order["orderId"]))
    assert letter["topic"] == INPUT[role] and letter["cause"] == "java.lang.IllegalStateException", letter
    shown = await pair.customers.shown(order)
    # Without a transaction Delivery's answer is out before its listener throws.
    answered = role == "delivery" and "transactions" not in pair.partner.kind.options
    expected = "FAILED" if role == "payment" else "COMPLETED" if answered else "PENDING"
    assert shown["status"] == expected, "what was rolled back counts for nobody"
    await pair.partner.bug("NONE")
    replayed = (await pair.type("dead-letters", "replay", letter["id"], *WHY, "--json")).rows
    assert [each["result"] for each in replayed] == ["published"], replayed
    await _ends(pair, order, scenario, unpaid=role in ("order", "stock"))


async def a_malformed_record_is_kept_as_it_was(pair: Pairing) -> None:
    """The partner cannot read a record. Its recoverer writes the bytes as a JSON text in base64; our letter has the bytes."""
    (role,) = pair.partner.kind.roles
    order_id = uuid4()
    value = f'{{"orderId": "{order_id}", "status": '
    await Wire(pair.system.settings).send_raw(INPUT[role], str(order_id).encode(), value.encode())
    letter = await _imported(pair, INPUT[role], order_id)
    shown = (await pair.type("dead-letters", "show", letter["id"], "--json")).row
    assert shown["value"] == value and "DeserializationException" not in letter["cause"], shown
    discarded = await pair.type("dead-letters", "discard", letter["id"], "--why", "a test's", "--json")
    assert discarded.code == 0, discarded


async def ours_are_replayed_by_theirs(pair: Pairing) -> None:
    """The partner sends a word that is none. Our service gives the record up at once; the partner's tool reads our letter and sends it mended."""
    (role,) = pair.partner.kind.roles
    topic, wrong, right = SPOILT[role]
    await pair.partner.bug("WRONG_WORD")
    order = await pair.customers.place(wait_s=1)
    if role in ("payment", "delivery"):
        await pair.customers.pay(order)
    order_id = UUID(order["orderId"])

    async def letters() -> int:
        return len(await pair.partner.letters(order_id))

    await settled(letters, 1)
    (letter,) = await pair.partner.letters(order_id)
    group = pair.system.settings.group("stock" if role == "order" else "order")
    assert (letter["topic"], letter["group"]) == (topic, group), letter
    assert wrong in letter["value"] and letter["fqcn"] and letter["message"], letter
    ours = (await pair.type("dead-letters", "list", "--order", str(order_id), "--json")).row
    assert (ours["partition"], ours["offset"]) == (letter["partition"], letter["offset"])
    await pair.partner.bug("NONE")
    assert await pair.partner.replay(order_id, wrong, right) == 1
    await _ends(pair, order, SUCCEEDS, unpaid=role in ("order", "stock"))
    discarded = await pair.type("dead-letters", "discard", ours["id"], "--why", "the partner sent it mended", "--json")
    assert discarded.code == 0, discarded


async def _imported(pair: Pairing, topic: str, order_id: UUID) -> dict[str, Any]:
    """The letter about an order, once the partner has written it and our import has found it."""

    async def new() -> int:
        return sum(row["new"] for row in (await pair.type("dead-letters", "import", topic, "--json")).rows)

    await settled(new, 1)
    return (await pair.type("dead-letters", "list", "--order", str(order_id), "--json")).row


async def _ends(pair: Pairing, order: Any, scenario: Scenario, *, unpaid: bool) -> None:
    if unpaid:
        await pair.customers.pay(order)
    ended = await pair.customers.ended(order, scenario)
    assert ended.end == scenario.expected

    async def money() -> int:
        ((held, _),) = (await pair.customers.money([ended])).items()
        return held

    await settled(money, order["totalAmount"] if scenario is SUCCEEDS else 0)
