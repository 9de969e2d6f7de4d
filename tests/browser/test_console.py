"""The operators' console in a browser: one look tells what is wrong, and a dead letter is mended from there."""

import json
import re
import time
from collections.abc import Callable
from uuid import uuid4

import httpx
import psutil
import pytest
from confluent_kafka import Producer
from playwright.sync_api import expect

from ordersaga.devstack.system import System
from ordersaga.settings import ServiceName
from tests.browser.troubles import FACE, OPERATOR, PHONE, REQUESTS, enter, execute, letter_of, pay, place, spoil
from tests.browser.visitor import ADDRESS, Visitor, axe
from tests.chaos.struck import pid_of, send_signals

Visitors = Callable[..., Visitor]
COVERED = """() => {
  const over = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
  const things = [...document.querySelectorAll("#flow svg .edge circle, #flow svg .node rect")].map((each) => each.getBoundingClientRect());
  const found = [];
  for (const said of document.querySelectorAll("#flow svg .edge .said")) {
    const lines = document.createTreeWalker(said, NodeFilter.SHOW_TEXT), range = document.createRange();
    while (lines.nextNode()) {
      range.selectNodeContents(lines.currentNode);
      const line = range.getBoundingClientRect();
      if (things.some((thing) => over(line, thing))) found.push(lines.currentNode.data);
    }
  }
  return found;
}"""
"""What the drawing says of its arrows and what a step's number or a part covers."""

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_one_look_tells_that_all_is_well_and_then_what_is_wrong(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    verdict = one.page.locator("#verdict")
    expect(verdict).to_contain_text("All is well")
    one.evaluate("window.stayed = true")
    spoil(system, 2)
    expect(verdict).to_contain_text("Delivery has dead letters: 2")
    assert one.evaluate("window.stayed"), "the page was not loaded again"
    verdict.get_by_role("link", name="dead letters").click()
    expect(one.page.get_by_role("heading", name="Dead letters")).to_be_visible()
    expect(one.page.locator("main table").first).to_contain_text(REQUESTS)


def test_what_has_failed_again_for_one_order_is_one_line_with_how_often_and_since_when(
    visitor: Visitors, system: System
) -> None:
    order_id, _, _ = place(system)
    fail_again(system, order_id, 3)
    one = enter(visitor)
    page = one.open("/console/letters?service=delivery")
    rows = page.locator("form tbody tr", has_text=order_id[:8])
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("failed 3 times")
    expect(rows.get_by_role("checkbox")).to_have_count(0)
    axe(page)
    rows.get_by_role("link", name="failed 3 times").click()
    expect(page.locator("form tbody tr")).to_have_count(3)
    expect(page.locator("form tbody")).not_to_contain_text("failed 3 times")
    one.follow("All of these")
    expect(page.locator("main")).to_contain_text("Open letters that fit: 3")

    page = one.open(f"/console/orders/{order_id}")
    held = page.locator("#order-held .waits > li")
    expect(held).to_have_count(1)
    expect(held).to_contain_text("failed 3 times")
    held.locator("summary").click()
    expect(held.locator("ol a")).to_have_count(3)
    axe(page)


def fail_again(system: System, order_id: str, times: int) -> None:
    """Send Delivery so many requests of one order that fit no schema, and wait until all of them are dead letters."""
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    for _ in range(times):
        producer.produce(
            REQUESTS, json.dumps({"orderId": order_id, "customerId": "nobody"}).encode(), order_id.encode()
        )
    producer.flush()
    url, query = f"{system.urls['delivery']}{FACE}/dead-letters", {"orderId": order_id}
    for _ in range(200):
        if len(httpx.get(url, params=query, headers=OPERATOR).json()["items"]) == times:
            return
        time.sleep(0.1)
    raise AssertionError("not all are dead letters")


def test_the_picture_counts_each_of_the_eleven_steps_as_they_happen(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    said = one.page.locator("#flow svg g.edge .said")

    def counts() -> list[int]:
        """How many of each step, an answer before Stock's counted, too."""
        texts = said.all_text_contents()
        return [sum(map(int, re.findall(r"(\d+) (?:in all|before it came)", each))) for each in texts]

    before = counts()
    assert len(before) == 11 and all("in all" in each for each in said.all_text_contents())
    order_id, customer, total = place(system)
    pay(system, order_id, customer, total)
    end = time.monotonic() + 20
    more = [0] * 11
    while min(more) == 0:
        assert time.monotonic() < end, said.all_text_contents()
        one.page.wait_for_timeout(200)
        more = [after - least for after, least in zip(counts(), before, strict=True)]
    assert more[:4] + more[5:] == [1] * 10, "a confirm is sent again as long as Payment does not know the order"
    expect(one.page.locator("#flow svg")).to_contain_text(re.compile("[0-9]/s"))


def test_the_figures_of_a_shop_that_has_sold_for_years_stand_clear_of_the_drawings_parts(
    visitor: Visitors, system: System
) -> None:
    services: tuple[ServiceName, ...] = ("payment", "order")
    calls = ("gateway-approved", "gateway-declined", "gateway-unclear", "place-order-answered-early")
    for service in services:
        for call in calls:
            execute(system, service, f"INSERT INTO call_count VALUES ('{call}', 'years', 1234567, 0, now())")
    try:
        for language in ("en-US", "ko-KR"):
            one = enter(visitor, language=language)
            expect(one.page.locator("#flow svg .said", has_text="1,234,")).to_have_count(2)
            assert one.evaluate(COVERED) == []
    finally:
        for service in services:
            execute(system, service, "DELETE FROM call_count WHERE owner = 'years'")


def test_the_charts_tell_of_orders_that_nobody_watched_and_the_window_is_in_the_address(
    visitor: Visitors, system: System
) -> None:
    one = enter(visitor)
    page = one.open("/console/history?minutes=15")
    expect(page.locator("#history-whole polyline.of-placed")).not_to_have_count(0, timeout=60_000)
    page.goto("about:blank")
    order_id, customer, total = place(system)
    pay(system, order_id, customer, total)
    page = one.open("/console/history?minutes=15")
    expect(page.locator("#history-topics figure", has_text="order-created")).to_have_count(1, timeout=60_000)
    axe(page)
    one.follow("Three hours")
    assert page.url.endswith("/console/history?minutes=180")
    expect(page.get_by_role("link", name="Three hours")).to_have_attribute("aria-current", "true")
    page.locator("#history-topics").get_by_role("link", name="order-created").click()
    expect(page.get_by_role("heading", name="order-created")).to_be_visible()
    phone = enter(visitor, role="reader", language="ko-KR", width=360)
    page = phone.open("/console/history?minutes=nothing")
    expect(page.get_by_role("heading", name="추이")).to_be_visible()
    expect(page.locator("main")).to_contain_text("초당 주문")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    axe(page)


def test_a_search_is_its_address_which_somebody_else_opens_after_signing_in(visitor: Visitors, system: System) -> None:
    place(system, pieces=9_999)
    one = enter(visitor)
    one.open("/console/orders").get_by_label("Status").select_option("FAILED")
    one.press("Show")
    one.page.wait_for_url(one.url + "/console/orders?status=FAILED")
    chip = one.page.get_by_role("navigation", name="Frequent searches").get_by_role("link", name="failed")
    expect(chip).to_have_attribute("aria-current", "true")
    expect(one.page.locator("main tbody tr")).not_to_have_count(0)
    other = visitor()
    other.open("/console/orders?status=FAILED")
    other.page.locator("button[name=role][value=reader]").click()
    other.page.wait_for_url(one.page.url)
    expect(other.page.locator("main tbody tr")).not_to_have_count(0)


def test_a_service_that_is_down_takes_only_its_part_of_the_overview(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    system.kill("delivery")
    try:
        expect(one.page.locator("#verdict")).to_contain_text("Delivery is not answering")
        expect(one.page.locator("#services")).to_contain_text("Stock well")
        for kind in ("Dead letters", "Parked records"):
            expect(one.page.locator("#tiles .panel", has_text=kind)).to_contain_text("no answer from Delivery")
        one.open("/console/letters")
        expect(one.page.locator("section[aria-labelledby=part-delivery]")).to_contain_text("is not answering now")
        expect(one.page.locator("section[aria-labelledby=part-stock]")).to_contain_text("None.")
    finally:
        system.start("delivery")
    one.open("/console")
    expect(one.page.locator("#verdict")).to_contain_text("All is well")


def test_kafka_that_answers_nobody_is_told_with_the_time_before_a_service_raises_its_alarm(
    visitor: Visitors, system: System
) -> None:
    one = enter(visitor)
    verdict, broker = one.page.locator("#verdict"), [psutil.Process(pid_of(system.stack.kafka))]
    send_signals(broker, "SIGSTOP")
    try:
        expect(verdict).to_contain_text("Kafka does not answer since", timeout=60_000)
        expect(verdict.locator("li", has_text="Kafka").locator("time")).to_have_attribute("datetime", re.compile("T"))
    finally:
        send_signals(broker, "SIGCONT")
    expect(verdict).to_contain_text("All is well", timeout=60_000)


def test_a_console_that_is_not_answering_says_so_where_it_is_seen_and_goes_on(visitor: Visitors) -> None:
    one = enter(visitor, width=360)
    one.expected.append("net::ERR_INTERNET_DISCONNECTED")
    told = one.page.locator("#live")
    one.context.set_offline(True)
    expect(told).to_contain_text("What you see may be old")
    expect(told).to_be_in_viewport(ratio=1)
    one.context.set_offline(False)
    expect(told).to_have_text("Updates by itself")


def test_a_dead_letter_is_edited_looked_at_and_replayed(visitor: Visitors, system: System) -> None:
    (order_id,) = spoil(system, 1)
    one = enter(visitor)
    page = one.open(f"/console/letters?order={order_id}")
    page.locator("tbody a[href^='/console/letters/delivery/']").first.click()
    expect(page.locator("pre").first).to_contain_text("nobody")
    expect(page.locator(".facts").first).to_contain_text(f"{REQUESTS}/")
    page.get_by_label("Reason").fill("as it is")
    one.press("What would it do?")
    expect(page.locator(".effect.fails")).to_contain_text("fails again")
    one.follow("Edit")
    field = page.get_by_label("customerId")
    page.get_by_label("Reason").fill("the customer is known now")
    one.expected.append("status of 400")
    one.press("Look at the difference")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("alert")).to_contain_text("value.customerId")
    field.fill(str(uuid4()))
    one.press("Look at the difference")
    expect(page.locator(".minus")).to_contain_text("nobody")
    one.press("Save and replay")
    expect(page.get_by_role("status").first).to_contain_text("This is the edited copy, which is being replayed")
    expect(page.locator("h1 .badge")).to_have_text("resolved")  # by itself
    expect(page.locator(".chain [aria-current]").locator("..")).to_contain_text("resolved")
    page.reload()
    letter_of(system, order_id, "order")  # the delivery has started, of an order that Order does not know
    expect(page.locator(".trail")).to_contain_text("the customer is known now")
    expect(page.locator(".trail")).to_contain_text("Oliver")


def test_many_letters_are_replayed_at_a_rate_until_stopped(visitor: Visitors, system: System) -> None:
    spoil(system, 6)
    one = enter(visitor)
    page = one.open("/console/letters?service=delivery")
    one.follow("All of these …")
    expect(page.locator(".lead")).to_contain_text("Open letters that fit: 6")
    page.get_by_label("Reason").fill("try them")
    one.press("Dry run")
    expect(page.locator("#job-state")).to_contain_text("Ended")
    expect(page.locator("#job-items tbody tr")).to_have_count(6)
    expect(page.locator("#job-items")).to_contain_text("tried out")

    one.open("/console/letters?service=delivery")
    one.follow("All of these …")
    page.get_by_label("Letters a second").fill("0.2")
    page.get_by_label("Reason").fill("now for good")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#job-state")).to_contain_text("Running")
    page.locator("form.stop input[name=reason]").fill("enough")
    one.press("Stop")
    expect(page.locator("#job-state")).to_contain_text("Ended")
    expect(page.locator("#job-state")).to_contain_text("stopped by Oliver")
    expect(page.locator("#job-items")).to_contain_text("not replayed")


def test_what_somebody_else_has_done_meanwhile_is_told_and_nothing_is_done(visitor: Visitors, system: System) -> None:
    (order_id,) = spoil(system, 1)
    one = enter(visitor)
    letter_id = letter_of(system, order_id)
    page = one.open(f"/console/letters/delivery/{letter_id}")
    url = f"{system.urls['delivery']}{FACE}/dead-letters/{letter_id}/discard"
    httpx.post(url, json={"reason": "first", "version": "OPEN"}, headers=OPERATOR).raise_for_status()
    page.get_by_label("Reason").fill("second")
    one.press("Replay")
    expect(page.get_by_role("alert").first).to_contain_text("Somebody else has acted meanwhile")
    expect(page.locator("h1 .badge")).to_have_text("discarded")


def test_a_partition_is_paused_with_a_reason_and_read_again(visitor: Visitors) -> None:
    one = enter(visitor)
    for act, notice, state in (("Pause", "Paused", "paused"), ("Resume", "It reads again", "reading")):
        page = one.open(f"/console/topics?service=delivery&topic={REQUESTS}")
        row = page.locator("details.topic tbody tr").first
        row.locator("summary").click()
        row.get_by_label("Reason").fill("the carrier asked us")
        row.get_by_role("button", name=act).click()
        expect(page.get_by_role("status").first).to_contain_text(notice)
        for _ in range(40):
            page = one.open(f"/console/topics?service=delivery&topic={REQUESTS}")
            if page.locator("details.topic tbody .badge").first.inner_text() == state:
                break
            time.sleep(0.3)
        expect(page.locator("details.topic tbody .badge").first).to_have_text(state)
        if state == "paused":
            one.open("/console")
            expect(page.locator("#verdict")).to_contain_text("Delivery has paused partitions: 1")
    for act, notice in (("Pause all", "All its partitions are paused"), ("Resume all", "Its partitions read again")):
        page = one.open(f"/console/topics?service=delivery&topic={REQUESTS}")
        topic = page.locator("details.topic[open]")
        topic.get_by_text(act, exact=True).first.click()
        topic.locator("div.row details[open]").get_by_label("Reason").fill("the carrier moves")
        topic.get_by_role("button", name=act).click()
        expect(page.get_by_role("status").first).to_contain_text(notice)
        expect(topic.locator("tbody .badge.paused")).to_have_count(12 if act == "Pause all" else 0)


def test_a_reader_sees_no_personal_data_and_is_refused_every_act(visitor: Visitors, system: System) -> None:
    (order_id,) = spoil(system, 1)
    one = enter(visitor, "reader")
    letter_id = letter_of(system, order_id)
    page = one.open(f"/console/letters/delivery/{letter_id}")
    expect(page.locator("pre").first).to_contain_text(str(order_id))
    expect(page.locator("pre").first).not_to_contain_text(PHONE)
    expect(page.get_by_role("button", name="Replay")).to_be_disabled()
    expect(page.locator("main")).to_contain_text("To act, the role OPERATOR or MASTER is needed")
    csrf = page.locator("input[name=csrf]").first.input_value()
    form: dict[str, str | float | bool] = {"csrf": csrf, "reason": "let me", "version": "OPEN"}
    answer = page.request.post(f"{page.url}/replay", form=form, max_redirects=0)
    assert answer.status == 403
    assert "you need the role OPERATOR" in answer.text()
    one.expected.append("status of 403")
    letter = httpx.get(f"{system.urls['delivery']}{FACE}/dead-letters/{letter_id}", headers=OPERATOR).json()
    assert letter["letter"]["status"] == "OPEN"
    one.open("/console/jobs/new?service=delivery&topic=x")
    expect(page.get_by_text("you need the role OPERATOR")).to_be_visible()


def test_a_reader_sees_every_order_without_personal_data_and_an_operator_cancels_one(
    visitor: Visitors, system: System
) -> None:
    customer = visitor()
    order_id = customer.order("Quiet plant").rpartition("/")[2]
    customer.sees("Ready for your payment")
    reader = {"User-Id": str(uuid4()), "User-Roles": "READER"}
    url = f"{system.urls['order']}/api/v1/orders/{order_id}"
    hidden = httpx.get(url, headers=reader).json()["recipient"]
    assert (hidden["phone"], hidden["name"], hidden["addressDetail"]) == ("***", "***", None)
    assert httpx.post(f"{url}/cancel/delivery-before", headers=reader).status_code == 403
    assert httpx.get(f"{system.urls['delivery']}/api/v1/deliveries", headers=reader).status_code == 200
    states = httpx.get(f"{system.urls['order']}/api/v1/orders/states", headers=reader).json()
    assert states["counts"]["PENDING"] >= 1 and states["oldest"]
    assert (
        httpx.get(
            f"{system.urls['order']}/api/v1/orders/states", headers=reader | {"User-Roles": "CUSTOMER"}
        ).status_code
        == 403
    )

    rin = enter(visitor, "reader")
    page = rin.open(f"/console/orders?order={order_id}")
    expect(page.locator("[aria-current=step]")).to_contain_text("Payment")
    expect(page.locator("main")).to_contain_text("PaymentSuccessMessage")
    expect(page.locator("main")).not_to_contain_text(ADDRESS["phone"])
    oliver = enter(visitor)
    page = oliver.open(f"/console/orders/{order_id}")
    expect(page.locator("main")).to_contain_text(ADDRESS["phone"])
    page.get_by_label("Reason").fill("asked by phone")
    oliver.press("Cancel")
    expect(page.get_by_role("status").first).to_contain_text("Order cancelled")
    expect(page.locator(".story")).to_contain_text("cancel before delivery")
    customer.sees("This order is cancelled")  # by whom, it does not claim


def test_a_customer_is_no_operator_and_a_forged_form_does_nothing(visitor: Visitors, system: System) -> None:
    one = visitor()
    one.sign_in()
    one.open("/console/letters")
    assert "/console/sign-in" in one.page.url
    staff = enter(visitor)
    cookies = {each["name"]: each["value"] for each in staff.context.cookies()}
    forged = httpx.post(f"{system.urls['web']}/console/faults", cookies=cookies, data={"csrf": "guessed", "end": "1"})
    assert forged.status_code == 403


def test_an_operator_reads_korean(visitor: Visitors) -> None:
    one = enter(visitor, language="ko-KR")
    expect(one.page.locator("#verdict")).to_contain_text("모두 정상입니다")
    one.follow("데드 레터")
    expect(one.page.get_by_role("heading", name=re.compile("데드 레터"))).to_be_visible()
