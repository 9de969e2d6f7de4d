"""One order before an operator: its page changes by itself, loses nothing that is typed, and mends what an order waits for. And the edit of
letters: lists, and letters that are too large for a form."""

import json
import re
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest
from confluent_kafka import Producer
from playwright.sync_api import Page, expect

from ordersaga.devstack.system import System
from tests.browser.troubles import FACE, OPERATOR, enter, execute, letter_of, pay, pay_unsettled, place, spoil
from tests.browser.visitor import Visitor, axe

Visitors = Callable[..., Visitor]
TIRED = """
CREATE OR REPLACE FUNCTION tired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.zipcode = '11111' THEN RAISE EXCEPTION 'the carrier is away'; END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER tired BEFORE INSERT ON delivery FOR EACH ROW EXECUTE FUNCTION tired();
"""
LIVE = "window.stayed = true"
pytestmark = pytest.mark.usefixtures("nothing_left")


def follow_an_order(one: Visitor, order_id: str) -> Page:
    page = one.open(f"/console/orders/{order_id}")
    one.evaluate(LIVE)
    return page


def test_an_orders_page_changes_by_itself_and_keeps_what_is_typed(visitor: Visitors, system: System) -> None:
    order_id, customer, total = place(system)
    one = enter(visitor)
    page = follow_an_order(one, order_id)
    acts = page.locator("#order-acts")
    expect(page.locator("[aria-current=step]")).to_contain_text("Payment")
    expect(acts.get_by_role("button", name="Cancel")).to_be_visible()
    reason = acts.get_by_label("Reason")
    reason.fill("the customer called, and wants")
    page.get_by_role("heading", level=1).click()  # the field has the focus no more
    pay(system, order_id, customer, total)
    expect(page.locator("#order-head .badge")).to_have_text("completed")
    expect(page.locator("#order-story")).to_contain_text("DeliveryStartMessage")
    expect(page.locator("#order-facts")).to_contain_text("started")
    expect(page.locator("#order-facts a[href^='/products/']")).to_have_text(product_name(system))
    expect(reason).to_have_value("the customer called, and wants")
    expect(acts.get_by_text("has moved on since you began to type")).to_be_visible()
    assert one.evaluate("window.stayed"), "the page was not loaded again"

    reason.press("Enter")  # of several acts none is the one that is meant
    acts.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert").first).to_contain_text("Somebody else has acted meanwhile")
    expect(reason).to_have_value("the customer called, and wants")
    expect(acts.get_by_role("button", name="Return and refund")).to_be_visible()
    time.sleep(4)  # a refresh leaves it, too
    expect(reason).to_have_value("the customer called, and wants")


def test_an_unpaid_order_says_who_is_late(visitor: Visitors, system: System) -> None:
    order_id, customer, total = place(system)
    one = enter(visitor)
    page = follow_an_order(one, order_id)
    waits = page.locator("#order-steps .waits")
    expect(waits).to_contain_text("The customer has not paid: no confirm has come")
    pay_unsettled(system, order_id, customer, total)
    expect(waits).to_contain_text("Payment has the customer's confirm, and the gateway has given no result yet. since")


def test_the_focus_stays_where_it_is_while_the_page_changes(visitor: Visitors, system: System) -> None:
    order_id, customer, total = place(system)
    one = enter(visitor)
    page = follow_an_order(one, order_id)
    link = page.locator("#order-facts a[href^='/console/orders?customer=']")
    link.focus()
    pay(system, order_id, customer, total)
    expect(page.locator("#order-facts")).to_contain_text("started")
    expect(link).to_be_focused()


def test_the_request_that_an_order_waits_for_is_sent_again(visitor: Visitors, system: System) -> None:
    system.kill("stock")
    try:
        order_id, _, _ = place_while_stock_is_away(system)
        reader = enter(visitor, "reader")
        page = reader.open(f"/console/orders/{order_id}")
        expect(page.locator("#order-acts").get_by_role("button", name="Send again")).to_be_disabled()
        expect(page.locator("#order-acts")).to_contain_text("To act, the role OPERATOR or MASTER is needed")

        one = enter(visitor)
        page = follow_an_order(one, order_id)
        expect(page.locator("#order-facts")).to_contain_text(str(UUID(int=5)))
        expect(page.locator("#order-facts a[href^='/products/']")).to_have_count(0)
        expect(page.locator("#order-steps")).to_contain_text("times asked: 1")
        other = one.tab()
        other.goto(page.url)
        acts = page.locator("#order-acts")
        acts.get_by_label("Reason").fill("Stock comes back now")
        acts.get_by_role("button", name="Send again").click()
        expect(page.get_by_role("status").first).to_contain_text("The requests are sent again")
        expect(page.locator("#order-steps")).to_contain_text("times asked: 2")
        expect(page.locator("#order-story li.event").last).to_contain_text("resend")
        trail = page.locator("#order-story li.act")
        expect(trail).to_contain_text("resend")
        expect(trail).to_contain_text("Oliver")
        expect(trail).to_contain_text("Stock comes back now")

        acts = other.locator("#order-acts")
        acts.get_by_label("Reason").fill("and mine")
        other.evaluate("document.querySelector('#order-acts input[name=version]').value = 'seen before'")
        acts.get_by_role("button", name="Send again").click()
        expect(other.get_by_role("alert").first).to_contain_text("Somebody else has acted meanwhile")
        expect(acts.get_by_label("Reason")).to_have_value("and mine")
    finally:
        system.start("stock")
    expect(page.locator("#order-story")).to_contain_text("StockResponseMessage")
    expect(page.locator("#order-acts").get_by_role("button", name="Send again")).to_have_count(0)


def product_name(system: System) -> str:
    """The English name of the product that `place` orders."""
    name: str = httpx.get(f"{system.urls['stock']}/api/v1/products").json()["items"][0]["name"]
    return name.partition(" / ")[0]


def place_while_stock_is_away(system: System) -> tuple[str, dict[str, str], int]:
    """Like `place`, with a product that Order has the price of from a copy of its own."""
    customer = {"User-Id": str(uuid4()), "User-Roles": "CUSTOMER", "Prefer": "wait=0"}
    product, price = str(UUID(int=5)), 12_000
    execute(
        system,
        "order",
        f"INSERT INTO price (product_id, name, price, changed_at) VALUES ('{product}', 'cup', {price}, now()) ON CONFLICT DO NOTHING",
    )
    address = {"name": "Hana Kim", "phone": "010", "address": "1", "zipcode": "04524"}
    order = {"orderName": "cup", "totalAmount": price, "items": [{"productId": product, "quantity": 1}], **address}
    placed = httpx.post(f"{system.urls['order']}/api/v1/orders", json=order, headers=customer)
    placed.raise_for_status()
    return placed.json()["orderId"], customer, price


def test_a_parked_record_of_the_order_is_tried_now_and_the_trail_has_deliverys_act(
    visitor: Visitors, system: System
) -> None:
    execute(system, "delivery", TIRED)
    order_id, customer, total = place(system, zipcode="11111")
    one = enter(visitor)
    page = follow_an_order(one, order_id)
    pay(system, order_id, customer, total)
    held = page.locator("#order-held")
    expect(held).to_contain_text("Held in Delivery")
    execute(system, "delivery", f"UPDATE parked SET due_at = now() + interval '1 hour' WHERE order_key = '{order_id}'")
    page.reload()
    one.evaluate(LIVE)
    execute(system, "delivery", "DROP TRIGGER tired ON delivery")
    held.locator("summary").click()
    held.get_by_label("Reason").fill("the carrier is back")
    held.get_by_role("button", name="Try now").click()
    expect(page.get_by_role("status").first).to_contain_text("It is tried now")
    expect(page.locator("#order-head .badge")).to_have_text("completed")
    expect(held).not_to_contain_text("Held in Delivery")
    act = page.locator("#order-story li.act")
    expect(act).to_contain_text("Delivery")
    expect(act).to_contain_text("parked retry")
    expect(act).to_contain_text("the carrier is back")


def test_a_call_to_the_gateway_that_is_put_off_is_made_now(visitor: Visitors, system: System) -> None:
    order_id, customer, total = place(system)
    broken = {"confirm": {"outcome": "bad-gateway"}, "get": {"outcome": "bad-gateway"}}
    httpx.put(f"{system.urls['sandbox']}/sandbox/faults", json={"orders": {order_id: broken}}).raise_for_status()
    pay(system, order_id, customer, total)
    one = enter(visitor)
    page = follow_an_order(one, order_id)
    held = page.locator("#order-held")
    expect(held).to_contain_text("Open at the payment gateway")
    expect(held).to_contain_text(re.compile("times put off: [1-9]"))
    execute(system, "payment", f"UPDATE intent SET due_at = now() + interval '1 hour' WHERE order_id = '{order_id}'")
    httpx.put(f"{system.urls['sandbox']}/sandbox/faults", json={})
    page.reload()
    held.locator("summary").click()
    held.get_by_label("Reason").fill("the gateway is well again")
    held.get_by_role("button", name="Try now: Payment").click()
    expect(page.get_by_role("status").first).to_contain_text("It is tried now")
    expect(page.locator("#order-head .badge")).to_have_text("completed")
    expect(page.locator("#order-story li.act")).to_contain_text("retry confirm")


def test_what_a_service_that_goes_away_has_said_stays_readable(visitor: Visitors, system: System) -> None:
    order_id, _, _ = place(system)
    one = enter(visitor)
    page = follow_an_order(one, order_id)
    expect(page.locator("#order-steps")).to_contain_text("Payment")
    system.kill("order")
    try:
        expect(page.locator("#order-away")).to_contain_text("is not answering now")
        expect(page.locator("#order-head .badge")).to_have_text("pending")
        expect(page.locator("#order-steps")).to_contain_text("Payment")
        expect(page.locator("#order-facts")).to_contain_text(order_id)
    finally:
        system.start("order")
    expect(page.locator("#order-away")).not_to_contain_text("is not answering now")
    assert one.evaluate("window.stayed")


@pytest.mark.parametrize(("language", "width", "scheme"), [("en-US", 1280, "light"), ("ko-KR", 360, "dark")])
def test_an_orders_page_has_no_fault_that_axe_finds(
    visitor: Visitors, system: System, language: str, width: int, scheme: str
) -> None:
    execute(system, "delivery", TIRED)
    order_id, customer, total = place(system, zipcode="11111")
    pay(system, order_id, customer, total)
    one = enter(visitor, language=language, width=width, color_scheme=scheme, reduced_motion="reduce")
    page = one.open(f"/console/orders/{order_id}")
    expect(page.locator("#order-held summary")).to_be_visible()
    page.locator("#order-held summary").click()
    axe(page)
    assert one.evaluate("document.documentElement.scrollWidth") <= width
    assert len(re.findall("[가-힣]", page.locator("#order-acts").inner_text())) > 10 or language == "en-US"
    execute(system, "delivery", "DROP TRIGGER tired ON delivery")


def test_a_letter_is_found_by_its_id_or_the_beginning_of_it(visitor: Visitors, system: System) -> None:
    ids: dict[str, list[str]] = {}
    while all(len(each) < 2 for each in ids.values()):  # until two begin alike
        letter_id = letter_of(system, spoil(system, 1)[0])
        ids.setdefault(letter_id[0], []).append(letter_id)
    first, second = next(each for each in ids.values() if len(each) == 2)
    one = enter(visitor)
    page = one.open("/console/letters")
    for text in (first, first[:-4], first.upper()):
        page.get_by_label("Letter id").fill(text)
        one.press("Show")
        page.wait_for_url(f"**/console/letters/delivery/{first}")
        one.open("/console/letters")
    page.get_by_label("Letter id").fill(first[0])
    one.press("Show")
    for each in (first, second):
        expect(page.get_by_role("link", name=each)).to_be_visible()
    for nothing in ("0" * 8, "no id at all", str(uuid4())):
        one.open("/console/letters")
        page.get_by_label("Letter id").fill(nothing)
        one.press("Show")
        expect(page.get_by_text("No letter has an id that begins like this")).to_be_visible()


def failed(system: System, topic: str, order_id: UUID, value: dict[str, object], service: str) -> str:
    servers = system.settings.kafka_bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "message.max.bytes": 2_000_000})  # the broker takes 1,048,588
    producer.produce(topic, json.dumps(value).encode(), str(order_id).encode())
    producer.flush()
    return letter_of(system, order_id, service)


def test_lines_are_added_to_a_letters_list_and_removed_from_it(visitor: Visitors, system: System) -> None:
    order_id = uuid4()
    lines = [{"productId": "no id", "quantity": 1}, {"productId": str(UUID(int=2)), "quantity": 2}]
    value: dict[str, object] = {"orderId": str(order_id), "products": lines}
    letter_id = failed(system, "order-created", order_id, value, "stock")
    one = enter(visitor)
    page = one.open(f"/console/letters/stock/{letter_id}/edit")
    page.get_by_label("Reason").fill("the wrong line")
    page.get_by_label("products[1].quantity").fill("7")
    one.press("Remove products[0]")
    expect(page.get_by_label("products[0].productId")).to_have_value(str(UUID(int=2)))
    expect(page.get_by_label("products[0].quantity")).to_have_value("7")
    expect(page.get_by_label("products[1].productId")).to_have_count(0)
    one.press("Add one to products")
    page.get_by_label("products[1].productId").fill(str(UUID(int=3)))
    page.get_by_label("products[1].quantity").fill("4")
    expect(page.get_by_label("Reason")).to_have_value("the wrong line")
    page.get_by_label("products[1].quantity").press("Enter")  # goes on, and presses no button of a line
    expect(page.get_by_role("heading", name="The difference")).to_be_visible()
    expect(page.locator(".plus").filter(has_text=str(UUID(int=3)))).to_be_visible()
    one.press("Save the copy only")
    expect(page.get_by_role("status").first).to_contain_text("This is the edited copy. The original")
    shown = httpx.get(
        f"{system.urls['stock']}{FACE}/dead-letters/{page.url.rpartition('/')[2]}", headers=OPERATOR
    ).json()
    assert json.loads(shown["content"]["value"]["text"])["products"] == [
        {"productId": str(UUID(int=2)), "quantity": 7},
        {"productId": str(UUID(int=3)), "quantity": 4},
    ]


def test_a_letter_that_is_larger_than_a_page_takes_is_told_before_anybody_types(
    visitor: Visitors, system: System
) -> None:
    order_id = uuid4()
    one = enter(visitor)
    one.expected.append("status of 400")
    large: dict[str, object] = {"orderId": str(order_id), "products": "none", "more": "x" * 1_010_000}
    page = one.open(f"/console/letters/stock/{failed(system, 'order-created', order_id, large, 'stock')}/edit")
    expect(page.get_by_role("alert")).to_contain_text("up to 1,000,000 characters")
    expect(page.get_by_text("ordersaga dead-letters edit")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_count(0)


def test_a_letter_of_nearly_a_megabyte_is_edited_as_text_or_from_a_file(visitor: Visitors, system: System) -> None:
    order_id = uuid4()
    one = enter(visitor)
    one.expected.append("status of 400")
    large: dict[str, object] = {"orderId": str(order_id), "customerId": "nobody", "address": "가" * 150_000}
    letter_id = failed(system, "delivery-request-topic", order_id, large, "delivery")
    page = one.open(f"/console/letters/delivery/{letter_id}/edit")
    expect(page.get_by_text("Edit it as text")).to_be_visible()
    text = page.get_by_label("Value")
    page.get_by_label("Reason").fill("from the partner's file")
    text.fill(text.input_value() + "가" * 450_000)
    one.press("Look at the difference")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was sent")

    # As large as it was, with another field that does not fit: the service names it, and the text is kept.
    text.fill(json.dumps(large, ensure_ascii=False))
    one.press("Look at the difference")
    expect(page.get_by_role("alert").first).to_contain_text("customerId")
    right = large | {"customerId": str(uuid4()), "zipcode": "1", "name": "Kim", "address": "1"}
    file = {"name": "record.json", "mimeType": "application/json", "buffer": json.dumps(right).encode()}
    page.locator("#file").set_input_files(file)  # type: ignore[arg-type]  # a file by its parts
    expect(text).to_have_value(json.dumps(right))
    one.press("Look at the difference")
    expect(page.get_by_role("heading", name="The difference")).to_be_visible()
