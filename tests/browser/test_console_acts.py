"""What an operator does beside dead letters, in a browser: partitions, parked records, orders; and who may not."""

import re
import time
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from ordersaga.devstack.system import System
from ordersaga.web.desk import OPERATOR as OPERATOR_COOKIE
from tests.browser.troubles import (
    FACE,
    OPERATOR,
    REQUESTS,
    ask_delivery,
    end_faults,
    enter,
    letter_of,
    lose_position,
    parked_of,
    place,
    set_faults,
    spoil,
)
from tests.browser.visitor import Visitor, axe

Visitors = Callable[..., Visitor]
pytestmark = pytest.mark.usefixtures("nothing_left")
PARTITION = 2
LOOKS_MAX = 60


def reload_until(page: Page, found: Callable[[], bool]) -> None:
    """Load the page again until it says so."""
    for _ in range(LOOKS_MAX):
        page.reload()
        if found():
            return
        time.sleep(0.3)
    raise AssertionError(f"{page.url} never said it:\n{page.locator('main').inner_text()}")


def act(one: Visitor, path: str, button: str, notice: str) -> None:
    """Act on a thing that its retries may change meanwhile: then look again, as the notice says."""
    for _ in range(5):
        page = one.open(path)
        page.get_by_label("Reason").fill("the carrier is back")
        one.press(button)
        said = page.locator(".notice").inner_text()
        if notice in said:
            return
        assert "Somebody else has acted" in said, said
    raise AssertionError(f"{button} was never done")


def completed(visitor: Visitors, product: str) -> tuple[Visitor, str]:
    """A customer before their order, which is on its way; and the order's id."""
    customer = visitor()
    order_id = customer.order(product).rpartition("/")[2]
    customer.pay()
    customer.sees("Your parcel is on its way")
    return customer, order_id


def test_a_stopped_partition_goes_on_where_an_operator_says(visitor: Visitors, system: System) -> None:
    ask_delivery(system, PARTITION)
    lose_position(system, PARTITION)
    one = enter(visitor)
    page = one.open(f"/console/topics?service=delivery&topic={REQUESTS}")
    row = page.locator("details.topic tbody tr").nth(PARTITION)
    reload_until(page, lambda: "stopped" in row.inner_text())
    expect(row).to_contain_text("the ledger stands at offset 1000000")
    one.open("/console")
    expect(page.locator("#verdict")).to_contain_text("Delivery has stopped partitions: 1")
    page.locator("#verdict").get_by_role("link", name="stopped partitions").click()
    row.locator("summary").click()
    row.get_by_label("Go on at").fill("9999999")
    row.get_by_label("Reason").fill("records were removed")
    row.get_by_role("button", name="Accept and go on").click()
    expect(page.get_by_role("alert").first).to_contain_text("The service does not accept these values")
    row.locator("summary").click()
    row.get_by_label("Reason").fill("records were removed")
    row.get_by_role("button", name="Accept and go on").click()
    expect(page.get_by_role("status").first).to_contain_text("Accepted. It reads on from there")
    reload_until(page, lambda: page.locator("main .badge.stopped").count() == 0)
    page = one.open(f"/console/trail?target={REQUESTS}/{PARTITION}")
    expect(page.locator("tbody tr").first).to_contain_text("records were removed")
    expect(page.locator("tbody tr").first).to_contain_text("Oliver")


def test_a_parked_record_is_tried_now_and_another_one_given_up(visitor: Visitors, system: System) -> None:
    set_faults(system, "delivery", passingPercent=100)
    tried, dropped = ask_delivery(system), ask_delivery(system)
    paths = []
    for order_id in (tried, dropped):
        held = parked_of(system, order_id)
        paths.append(f"/console/parked/delivery/{held['topic']}/{held['partition']}/{held['offset']}")
    one = enter(visitor)
    page = one.open("/console/parked?service=delivery")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody")).to_contain_text("this try fails on purpose")
    act(one, paths[1], "Discard", "Discarded")
    (letter,) = httpx.get(
        f"{system.urls['delivery']}{FACE}/dead-letters",
        params={"orderId": str(dropped), "status": "ANY"},
        headers=OPERATOR,
    ).json()["items"]
    assert letter["status"] == "DISCARDED"
    end_faults(system, "delivery")
    act(one, paths[0], "Try now", "It is tried now")
    page = one.open("/console/parked?service=delivery")
    reload_until(page, lambda: "None. Every record is handled" in page.locator("main").inner_text())
    letter_of(system, tried, "order")  # the delivery has started, of an order that Order does not know


def test_an_operator_returns_an_order_and_its_customer_sees_the_money_go_back(
    visitor: Visitors, system: System
) -> None:
    customer, order_id = completed(visitor, "Reading lamp")
    one = enter(visitor)
    page = one.open(f"/console/orders/{order_id}")
    page.locator("#order-acts").get_by_label("Reason").fill("the lamp was broken")
    one.press("Return and refund")
    expect(page.get_by_role("status").first).to_contain_text("Order returned")
    expect(page.locator("h1 .badge")).to_have_text("cancelled")
    expect(page.locator(".story")).to_contain_text("the lamp was broken")
    reload_until(page, lambda: "PaymentCancelledMessage" in page.locator(".story").inner_text())
    customer.open(f"/orders/{order_id}")
    expect(customer.said).to_contain_text("sent back to your card")


def test_a_refund_at_the_gateways_dashboard_is_accepted_with_a_reason(visitor: Visitors, system: System) -> None:
    _, order_id = completed(visitor, "Brass pen")
    payments = httpx.get(
        f"{system.urls['payment']}/api/v1/payments", params={"orderId": order_id}, headers=OPERATOR
    ).json()["items"]
    key = payments[0]["paymentKey"]
    httpx.post(f"{system.urls['sandbox']}/sandbox/payments/{key}/cancel", json={}).raise_for_status()
    one = enter(visitor)
    page = one.open(f"/console/orders/{order_id}")
    reload_until(page, lambda: page.get_by_role("alert").count() == 1)
    page.locator("#order-acts").get_by_label("Reason").fill("the customer called")
    one.press("Accept the refund")
    expect(page.get_by_role("status").first).to_contain_text("The refund is accepted")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".story")).to_contain_text("the customer called")


def test_a_form_from_before_the_sign_in_is_old_and_does_nothing(visitor: Visitors, system: System) -> None:
    (order_id,) = spoil(system, 1)
    letter_id = letter_of(system, order_id)
    one = enter(visitor)
    page = one.open(f"/console/letters/delivery/{letter_id}")
    other = one.tab()
    other.goto(f"{one.url}/console")
    other.get_by_role("button", name="Sign out").click()
    other.locator("button[name=role][value=master]").click()
    other.wait_for_url(f"{one.url}/console")
    page.get_by_label("Reason").fill("too late")
    one.expected.append("status of 403")
    one.press("Discard")
    expect(page.get_by_text("This form was made before you signed in or out")).to_be_visible()
    url = f"{system.urls['delivery']}{FACE}/dead-letters/{letter_id}"
    assert httpx.get(url, headers=OPERATOR).json()["letter"]["status"] == "OPEN"


def test_every_act_of_a_reader_is_refused_with_the_role_that_it_needs(visitor: Visitors, system: System) -> None:
    one = enter(visitor, "reader")
    form: dict[str, str | float | bool] = {
        "csrf": one.page.locator("input[name=csrf]").first.input_value(),
        "reason": "let me",
        "version": "OPEN",
    }
    some = uuid4()
    for path in (
        *(f"/letters/delivery/{some}/{each}" for each in ("replay", "edit", "discard")),
        *(f"/parked/delivery/{REQUESTS}/0/0/{each}" for each in ("retry", "discard")),
        *(f"/topics/delivery/{REQUESTS}/0/{each}" for each in ("pause", "resume", "accept")),
        *(f"/topics/delivery/{REQUESTS}/{each}" for each in ("pause", "resume")),
        *(
            f"/orders/{some}/{each}"
            for each in ("cancel", "return", "accept-refund", "receive-return", "refuse-return")
        ),
        f"/jobs/delivery/{some}/stop",
        "/faults",
        "/faults/load",
        "/faults/consumers/delivery",
    ):
        answer = one.page.request.post(f"{one.url}/console{path}", form=form, max_redirects=0)
        assert answer.status == 403, path
        assert "you need the role OPERATOR" in answer.text(), path
    assert re.search(r"class=\"banner\"", one.page.request.get(f"{one.url}/console/faults").text())


def test_a_reader_is_offered_no_act_on_any_page_and_the_others_are(visitor: Visitors, system: System) -> None:
    (spoiled,) = spoil(system, 1)
    letter_id = letter_of(system, spoiled)
    set_faults(system, "delivery", passingPercent=100)
    held = parked_of(system, ask_delivery(system))
    order_id, _, _ = place(system)
    pages = (
        f"/orders/{order_id}",
        f"/letters/delivery/{letter_id}",
        f"/parked/delivery/{held['topic']}/{held['partition']}/{held['offset']}",
        f"/topics?service=delivery&topic={REQUESTS}",
        "/audit",
        "/faults",
    )
    for role in ("reader", "operator", "master"):
        one = enter(visitor, role)
        for path in pages:
            page = one.open(f"/console{path}")
            acts = page.locator("main form[method=post]")
            if role == "reader":
                expect(page.locator("main")).to_contain_text("To act, the role OPERATOR or MASTER is needed")
                expect(acts).to_have_count(0)
                expect(page.locator("main").get_by_role("button", disabled=False)).to_have_count(0)
                expect(page.locator("main").get_by_role("textbox", disabled=False)).to_have_count(0)
                axe(page)
            else:
                expect(acts.first).to_be_attached()
        page = one.open("/console/letters?service=delivery")
        expect(page.get_by_role("button", name="Act on the chosen ones")).to_have_count(0 if role == "reader" else 1)
        if role == "reader":
            for path in (f"/letters/delivery/{letter_id}/edit", "/jobs/new?service=delivery"):
                assert page.request.get(f"{one.url}/console{path}").status == 403


def test_a_second_click_on_an_act_is_no_act_of_somebody_else(visitor: Visitors, system: System) -> None:
    (order_id,) = spoil(system, 1)
    one = enter(visitor)
    page = one.open(f"/console/letters/delivery/{letter_of(system, order_id)}")
    page.get_by_label("Reason").fill("twice")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name="Discard").evaluate("(it) => { it.click(); setTimeout(() => it.click(), 5); }")
    expect(page.locator(".notice")).to_contain_text("Discarded")
    assert len(sent) == 1
    expect(page.locator(".trail li")).to_have_count(1)


def test_a_job_that_waits_says_for_which_and_is_stopped(visitor: Visitors, system: System) -> None:
    letters = [letter_of(system, each) for each in spoil(system, 3)]
    jobs = [
        httpx.post(
            f"{system.urls['delivery']}{FACE}/jobs",
            json={"act": "discard", "reason": "a test", "lettersPerSecond": 0.01, "selection": {"ids": chosen}},
            headers=OPERATOR,
        ).json()["id"]
        for chosen in (letters[:2], letters[2:])
    ]
    one = enter(visitor)
    page = one.open(f"/console/jobs/delivery/{jobs[1]}")
    state = page.locator("#job-state")
    expect(state.get_by_role("status")).to_have_text("Waits for its turn · 0 of 1 done")
    expect(state).to_contain_text("Before this one: Discard")
    axe(page)
    one.open("/console/jobs")
    expect(page.locator("tbody tr").first).to_contain_text("Waits for its turn")
    one.open(f"/console/jobs/delivery/{jobs[1]}")
    page.get_by_label("Reason").fill("not needed")
    one.press("Stop")
    expect(state).to_contain_text("Ended · 1 of 1 done")
    expect(page.locator("#job-items")).to_contain_text("not discarded")
    one.open(f"/console/jobs/delivery/{jobs[0]}")
    page.get_by_label("Reason").fill("not needed")
    one.press("Stop")
    expect(state).to_contain_text("Ended · 2 of 2 done")

    one.open("/console/trail?service=delivery")
    rows = page.locator("main table > tbody > tr")
    expect(rows.nth(3)).to_contain_text(
        "begin job"
    )  # both begun, both stopped, and no line for the letter that was discarded
    rows.nth(3).locator("summary").click()
    opened = rows.nth(3).locator("details li")
    expect(opened).to_have_count(1)
    expect(opened).to_contain_text("Status: open → discarded")
    axe(page)


def test_letters_are_chosen_all_at_once_and_none_chosen_is_no_job_for_all(visitor: Visitors, system: System) -> None:
    spoil(system, 2)
    one = enter(visitor)
    page = one.open("/console/letters?service=delivery")
    one.press("Act on the chosen ones")
    expect(page.get_by_role("alert").first).to_contain_text("No letter is chosen")
    page.get_by_label("Choose all").check()
    one.press("Act on the chosen ones (2)")
    expect(page.locator(".lead")).to_contain_text("Open letters that fit: 2")


def test_a_search_of_the_trail_takes_the_name_that_it_shows_and_says_what_fits_nothing(
    visitor: Visitors, system: System
) -> None:
    one = enter(visitor)
    page = one.open(f"/console/letters/delivery/{letter_of(system, spoil(system, 1)[0])}")
    page.get_by_label("Reason").fill("to be found")
    one.press("Discard")
    page = one.open("/console/trail")
    page.get_by_label("Who").fill("oliver")
    one.press("Show")
    expect(page.locator("tbody tr").first).to_contain_text("to be found")
    expect(page.get_by_label("Who")).to_have_value("oliver")
    one.open("/console/trail?who=nobody")
    expect(page.locator("main")).to_contain_text("No act fits")
    one.open("/console/trail?order=abc")
    expect(page.get_by_role("alert").last).to_contain_text("An order id has 36 characters")


def test_conditions_of_a_search_for_orders_that_fit_nothing_are_named(visitor: Visitors) -> None:
    one = enter(visitor)
    page = one.open("/console/orders")
    page.get_by_label("Older than").fill("an hour")
    one.press("Show")
    expect(page.get_by_role("alert").last).to_contain_text("Older than (minutes): Give a whole number of minutes")
    page.get_by_label("Older than").fill("")
    page.get_by_label("Reason").select_option("Out of stock")
    one.press("Show")
    expect(page.get_by_label("Reason")).to_have_value("OUT_OF_STOCK")


def test_who_is_signed_out_meanwhile_comes_back_to_the_page_of_the_form(visitor: Visitors) -> None:
    one = enter(visitor)
    page = one.open("/console/audit")
    one.context.clear_cookies(name=OPERATOR_COOKIE)
    one.press("Run the audit")
    page.locator("button[name=role][value=operator]").click()
    expect(page).to_have_url(one.url + "/console/audit")
    one.expected.append("status of 403")
    one.context.clear_cookies()
    one.press("Run the audit")
    one.follow("Load the page again")
    page.locator("button[name=role][value=operator]").click()
    expect(page).to_have_url(one.url + "/console/audit")
