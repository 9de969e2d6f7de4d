"""Records of Kafka in the console: a topic's newest as they come, those of an order, also in its story, and what a reader does not see."""

import json
import re
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from playwright.sync_api import expect

from ordersaga.devstack.system import System
from tests.browser.troubles import PHONE, enter, pay, place
from tests.browser.visitor import ADDRESS, Visitor, axe

Visitors = Callable[..., Visitor]
REQUESTS = "delivery-request-topic"
COMPLETED = "order-completed-topic"


def bought(visitor: Visitors) -> UUID:
    """An order that is completed, and so has a record on each topic of the guide."""
    customer = visitor()
    path = customer.order()
    customer.pay()
    customer.sees("on its way")
    return UUID(path.rpartition("/")[2])


def test_an_order_is_found_in_a_topic_and_a_reader_sees_no_personal_data(visitor: Visitors) -> None:
    order_id = bought(visitor)
    one = enter(visitor)
    page = one.open(f"/console/topics/{REQUESTS}")
    page.get_by_label("Order id").fill(str(order_id))
    one.press("Search this topic")
    expect(page.locator("#tail [role=status]")).to_contain_text("Found: 1.")
    expect(page.locator("#tail [role=status]")).to_contain_text("searched, all that Kafka keeps")
    page.locator(".records summary").click()
    expect(page.locator(".records pre")).to_contain_text(ADDRESS["phone"])
    expect(page.locator(".records dl")).to_contain_text("message-id")
    axe(page)
    page.locator(".records").get_by_role("link", name="Order").click()
    expect(page).to_have_url(f"{one.url}/console/orders/{order_id}")

    rin = enter(visitor, "reader")
    page = rin.open(f"/console/topics/{REQUESTS}?order={order_id}")
    page.locator(".records summary").click()
    expect(page.locator(".records pre")).to_contain_text(str(order_id))
    for secret in (ADDRESS["phone"], ADDRESS["name"], ADDRESS["memo"]):
        expect(page.locator("main")).not_to_contain_text(secret)
    expect(page.locator("main")).to_contain_text("Personal data is hidden")

    page.get_by_label("Order id").fill("not an id")
    rin.press("Search this topic")
    expect(page.locator("main")).to_contain_text("An order id has 36 characters")
    page.get_by_label("Order id").fill(str(uuid4()))
    rin.press("Search this topic")
    expect(page.locator("#tail [role=status]")).to_contain_text("Found: 0.")


def test_new_records_and_their_rate_appear_by_themselves_and_an_open_one_stays_open(
    visitor: Visitors, system: System
) -> None:
    producer = Producer({"bootstrap.servers": system.settings.kafka_bootstrap_servers})
    one = enter(visitor)

    def write(word: str) -> None:
        producer.produce(COMPLETED, json.dumps({"word": word}).encode(), str(uuid4()).encode())
        producer.flush()

    write("first-word")
    page = one.open(f"/console/topics/{COMPLETED}")
    one.evaluate("window.stayed = true")
    first = page.locator(".records details").first
    expect(first).to_contain_text("first-word")
    first.locator("summary").click()
    page.locator("h1").click()  # the focus leaves the list, which is not renewed under a person's hands
    page.evaluate("document.activeElement.blur()")
    write("second-word")
    expect(page.locator(".records details").first).to_contain_text("second-word")
    expect(page.locator(".records details[open]")).to_have_count(1)
    expect(page.locator(".records details[open]")).to_contain_text("first-word")
    assert one.evaluate("window.stayed"), "the page was not loaded again"
    expect(page.locator("#throughput tbody tr").first.locator("td").nth(3)).to_have_text(re.compile(r"^\d+\.\d$"))
    axe(page)


def test_the_page_of_topics_leads_to_the_newest_records_and_to_the_reader(visitor: Visitors) -> None:
    bought(visitor)
    one = enter(visitor)
    page = one.open(f"/console/topics?service=delivery&topic={REQUESTS}")
    expect(page.locator(f"#flow-delivery-{REQUESTS}")).to_contain_text(re.compile(r"in \d+\.\d/s, out \d+\.\d/s"))
    axe(page)
    one.follow("Newest records")
    expect(page.get_by_role("heading", name=REQUESTS)).to_be_visible()
    expect(page.locator("main")).to_contain_text("Order writes it, Delivery reads it")
    expect(page.locator("#throughput tbody tr").first.locator("td").nth(5)).to_have_text("0")
    one.follow(f"{REQUESTS}-dlt")
    expect(page.locator("main")).to_contain_text("Records that were given up")
    expect(page.locator("#throughput tbody tr").first.locator("td").nth(3)).to_have_text("0.0", timeout=60_000)
    axe(page)


def test_odd_addresses_of_topics_are_answered(visitor: Visitors, system: System) -> None:
    one = enter(visitor)
    cookies = {each["name"]: each["value"] for each in one.context.cookies()}
    for path, code in (
        ("__consumer_offsets", 404),
        ("no-such-topic", 404),
        (f"{REQUESTS}?partition=999999999&offset=0", 200),
        (f"{REQUESTS}?partition=0&offset=999999999999999999", 200),
        (f"{REQUESTS}?partition=-1&offset=x", 200),
        (f"{REQUESTS}?order=%00%ff", 200),
        (f"{REQUESTS}/now", 200),
    ):
        answer = httpx.get(f"{system.urls['web']}/console/topics/{path}", cookies=cookies)
        assert answer.status_code == code, path
    assert httpx.get(f"{system.urls['web']}/console/topics/{REQUESTS}").status_code == 303


def test_an_operator_reads_korean_on_a_phone(visitor: Visitors) -> None:
    order_id = bought(visitor)
    one = enter(visitor, language="ko-KR", width=360, color_scheme="dark")
    page = one.open(f"/console/topics/{REQUESTS}?order={order_id}")
    expect(page.locator("#tail [role=status]")).to_contain_text("1건 찾음")
    page.locator(".records summary").click()
    assert one.evaluate("document.documentElement.scrollWidth") <= 360
    axe(page)
    page = one.open(f"/console/topics/{REQUESTS}")
    expect(page.locator("#tail-title")).to_have_text("최근 레코드")
    assert one.evaluate("document.documentElement.scrollWidth") <= 360
    axe(page)


def test_each_message_of_the_story_opens_with_its_record_and_hides_personal_data_from_a_reader(
    visitor: Visitors, system: System
) -> None:
    order_id, customer, total = place(system)
    one = enter(visitor)
    page = one.open(f"/console/orders/{order_id}")
    one.evaluate("window.stayed = true")
    story = page.locator("#order-story")
    asked = story.locator("li.event details", has_text="StockDecreaseRequestMessage")
    asked.locator("summary").click()
    expect(asked.locator("pre")).to_contain_text(order_id)
    expect(asked.locator("dl")).to_contain_text("message-id")
    expect(asked).to_contain_text(re.compile(r"order-created/\d+/\d+"))
    pay(system, order_id, customer, total)
    expect(story).to_contain_text("DeliveryStartMessage")  # the story goes on while the focus is on what was opened
    expect(asked.locator("pre")).to_contain_text(order_id)
    expect(asked.locator("summary")).to_be_focused()
    assert one.evaluate("window.stayed")

    expect(story.locator("li.reservation")).to_contain_text("decided")
    expect(story.locator("li.reservation")).to_contain_text("reserved")
    expect(story.locator("li").first).to_contain_text("Order placed pending")
    expect(story.locator("li.reservation details")).to_have_count(2)
    axe(page)
    for each in story.locator("details.payload").all():
        if not each.get_attribute("open"):
            each.locator("summary").click()
        expect(each.locator("pre")).to_contain_text(order_id)
    asks = story.locator("li.event details", has_text="DeliveryRequestMessage")
    expect(asks.locator("pre")).to_contain_text(PHONE)
    cause = story.locator("li.event details.came-in", has_text="PaymentSuccessMessage").locator("dl")
    payment_id = re.search(r"message-id\s+([0-9a-f-]{36})", cause.inner_text())
    assert payment_id and payment_id[1] in asks.locator("dl").inner_text(), "what went out names what came in"

    rin = enter(visitor, "reader")
    page = rin.open(f"/console/orders/{order_id}/records")  # also without a script
    expect(page.locator("main")).to_contain_text("records were looked at")
    asks = page.locator("li", has_text="DeliveryRequestMessage").first
    expect(asks.locator("pre")).to_contain_text(order_id)
    for secret in (PHONE, "Hana Kim"):
        expect(page.locator("main")).not_to_contain_text(secret)
    expect(asks).to_contain_text("Personal data is hidden")
    axe(page)


def test_a_message_whose_record_kafka_has_no_more_says_so(visitor: Visitors, system: System) -> None:
    order_id, _, _ = place(system)
    one = enter(visitor)
    page = one.open(f"/console/orders/{order_id}")
    answer = page.locator("#order-story details.came-in", has_text="StockResponseMessage")
    expect(answer).to_be_visible()
    kafka: dict[str, str | int | float | bool] = {"bootstrap.servers": system.settings.kafka_bootstrap_servers}
    consumer, admin = Consumer({**kafka, "group.id": "none"}), AdminClient(kafka)
    topic = "stock-response-topic"
    places = [TopicPartition(topic, n) for n in admin.list_topics(topic, 10).topics[topic].partitions]
    ends = [TopicPartition(topic, each.partition, consumer.get_watermark_offsets(each)[1]) for each in places]
    consumer.close()
    for asked in admin.delete_records([each for each in ends if each.offset]).values():
        asked.result(30)
    answer.locator("summary").click()
    expect(answer).to_contain_text("Kafka has removed it: stock-response-topic keeps no records of before")
    time.sleep(4)  # a refresh leaves what was told
    expect(answer).to_contain_text("Kafka has removed it")
    system.kill("order")
    try:
        page = one.open(f"/console/orders/{order_id}/records")
        expect(page.locator("main")).to_contain_text("is not answering now")
    finally:
        system.start("order")
