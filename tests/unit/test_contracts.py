"""The wire: byte for byte what the guide's DTOs give, and tolerant of what Java producers send."""

import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from ordersaga.contracts import messages as m
from ordersaga.contracts.codec import Undecodable, declare, decode, encode
from ordersaga.contracts.topics import BY_MESSAGE, BY_NAME, GUIDE_TOPICS, TOPICS, Topic, key_of
from ordersaga.delivery.carrier import BuiltInCarrier
from ordersaga.delivery.handlers import handler as delivery
from ordersaga.messaging.handler import Handler
from ordersaga.order.handlers import handler as order
from ordersaga.payment.handlers import handler as payment
from ordersaga.settings import ServiceName, Settings
from ordersaga.stock.handlers import handler as stock

ORDER = UUID("8b91c74c-f28d-4f11-823a-8e727ff052c2")
PRODUCT = UUID("6937dc1c-5d67-4222-961c-cfa6421b26df")
OTHER = UUID("c40e15db-f0a8-4d39-9d8f-af94768c83f6")
CUSTOMER = UUID("edf3ccfe-773d-4da4-9e2d-998c042029b3")
DELIVERY = UUID("b0b61b97-8a36-44b3-832a-629972311544")

GOLDEN = json.loads((Path(__file__).parent / "golden_records.json").read_text())

MESSAGES = {
    "order-created": m.StockDecreaseRequestMessage(
        order_id=ORDER,
        products=(m.OrderedProduct(product_id=PRODUCT, quantity=1), m.OrderedProduct(product_id=OTHER, quantity=1)),
    ),
    "stock-response-topic": m.StockResponseMessage(
        order_id=ORDER, product_id=PRODUCT, status="SUCCESS", message="stock decreased"
    ),
    "payment-success-topic": m.PaymentSuccessMessage(
        order_id=ORDER, payment_key="tviva20261123_8b91c74c", amount=25000, status="SUCCESS"
    ),
    "delivery-request-topic": m.DeliveryRequestMessage(
        order_id=ORDER,
        customer_id=CUSTOMER,
        address="1 Sejong-daero",
        address_detail="12F",
        zipcode="04524",
        phone="010-0000-0000",
        name="김하나",
        delivery_memo="문 앞에 두세요",
    ),
    "delivery-start-topic": m.DeliveryStartMessage(order_id=ORDER, delivery_id=DELIVERY, status="STARTED"),
    "order-completed-topic": m.OrderCompletedMessage(
        order_id=ORDER, customer_id=CUSTOMER, status="ORD0002", total_amount=25000, order_name="keyboard and mouse"
    ),
}


OUR_FIELDS: dict[str, list[str]] = {}
"""Fields that we have added to messages of the guide, by topic. `MESSAGES` and `golden_records.json` stay as the guide has them."""


@pytest.mark.parametrize("topic", [topic.name for topic in GUIDE_TOPICS])
def test_the_guides_fields_are_written_as_a_java_service_writes_them_byte_for_byte(topic: str) -> None:
    ours = "".join(f',"{name}":null' for name in OUR_FIELDS.get(topic, []))
    assert encode(MESSAGES[topic]) == (GOLDEN[topic].removesuffix("}") + ours + "}").encode()


@pytest.mark.parametrize("topic", [topic.name for topic in GUIDE_TOPICS])
def test_what_a_java_service_writes_is_understood(topic: str) -> None:
    assert decode(topic, GOLDEN[topic].encode()) == MESSAGES[topic]


def test_the_guides_fields_come_first_in_its_order_and_ours_behind_them() -> None:
    fields = {topic.name: list(topic.message.__struct_encode_fields__) for topic in GUIDE_TOPICS}
    guides = {
        "order-created": ["orderId", "products"],
        "stock-response-topic": ["orderId", "productId", "status", "message"],
        "payment-success-topic": ["orderId", "paymentKey", "amount", "status"],
        "delivery-request-topic": [
            "orderId",
            "customerId",
            "address",
            "addressDetail",
            "zipcode",
            "phone",
            "name",
            "deliveryMemo",
        ],
        "delivery-start-topic": ["orderId", "deliveryId", "status"],
        "order-completed-topic": ["orderId", "customerId", "status", "totalAmount", "orderName"],
    }
    wanted = {topic: [*names, *OUR_FIELDS.get(topic, [])] for topic, names in guides.items()}
    assert fields == wanted, "a field that is added to a message of the guide belongs at its end, and into OUR_FIELDS"


def test_an_absent_optional_is_written_as_null() -> None:
    message = m.StockResponseMessage(order_id=ORDER, status="FAILED")
    assert (
        encode(message) == b'{"orderId":"%s","productId":null,"status":"FAILED","message":null}' % str(ORDER).encode()
    )


def test_characters_beyond_the_basic_plane_and_controls_are_written_as_jackson_writes_them() -> None:
    message = m.StockResponseMessage(order_id=ORDER, status="FAILED", message='품절 😀 \x1f \\u001f "')
    assert encode(message).endswith('"message":"품절 \\uD83D\\uDE00 \\u001F \\\\u001f \\""}'.encode())
    assert decode("stock-response-topic", encode(message)) == message


def test_unknown_fields_upper_case_uuids_and_any_field_order_are_accepted() -> None:
    value = f'{{"status":"SUCCESS","new":{{"a":[1]}},"productId":"{str(PRODUCT).upper()}","orderId":"{ORDER}"}}'
    expected = m.StockResponseMessage(order_id=ORDER, product_id=PRODUCT, status="SUCCESS")
    assert decode("stock-response-topic", value.encode()) == expected


@pytest.mark.parametrize("amount", [2**31, -(2**31) - 1, 10**30, 1.5, "1.5", True, [1]])
def test_an_amount_that_is_no_32_bit_integer_is_refused(amount: object) -> None:
    value = msgspec.json.encode({"orderId": ORDER, "paymentKey": "k", "amount": amount, "status": "SUCCESS"})
    with pytest.raises(Undecodable, match=r"`\$\.amount`"):
        decode("payment-success-topic", value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "value is null"),
        (b"", "empty"),
        (b"{", "truncated"),
        (b"\xff\xfe", "malformed"),
        (b"[]", "object"),
        (b'{"orderId":"x"}', "orderId"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"orderId":"%s"}' % str(ORDER).encode(), "status"),
        (b'{"orderId":"%s","status":"MAYBE"}' % str(ORDER).encode(), "MAYBE"),
        (b'{"orderId":"%s","status":"FAILED","message":"a\\u0000b"}' % str(ORDER).encode(), "NUL"),
        (b'{"orderId":"%s","status":"FAILED","message":NaN}' % str(ORDER).encode(), "malformed"),
    ],
)
def test_what_is_no_message_is_refused_with_a_reason_a_person_understands(value: bytes | None, said: str) -> None:
    with pytest.raises(Undecodable, match=said):
        decode("stock-response-topic", value)


@pytest.mark.parametrize("quantity", [0, -1, 2**31])
def test_a_quantity_below_one_or_beyond_32_bits_is_refused(quantity: int) -> None:
    value = msgspec.json.encode({"orderId": ORDER, "products": [{"productId": PRODUCT, "quantity": quantity}]})
    with pytest.raises(Undecodable, match="quantity"):
        decode("order-created", value)


def test_every_message_has_one_topic_and_a_key() -> None:
    assert len(BY_MESSAGE) == len(TOPICS)
    assert {topic.key for topic in TOPICS} == {"order_id", "product_id"}
    assert key_of(MESSAGES["order-created"]) == ORDER
    assert (
        key_of(m.ProductPriceMessage(product_id=PRODUCT, price=1, changed_at=datetime(2026, 1, 1, tzinfo=UTC)))
        == PRODUCT
    )


class Visit(m.Message, frozen=True):
    """A message of another system."""

    visitor_id: UUID
    name: str


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        (Topic("order-created", Visit, key="visitor_id"), "already declared on order-created"),
        (Topic("visits", m.DeliveryStartMessage), "already declared on delivery-start-topic"),
        (Topic("visits", Visit, key="name"), "must be a field of Visit, of type UUID"),
        (Topic("visits", Visit), "'order_id' must be a field of Visit"),
    ],
)
def test_a_topic_that_would_be_ambiguous_is_not_declared(topic: Topic, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        declare(topic)
    assert topic.name not in BY_NAME or BY_NAME[topic.name] is not topic
    assert Visit not in BY_MESSAGE


def test_each_service_consumes_the_topics_that_the_contract_says() -> None:
    settings = Settings()
    handlers: dict[ServiceName, Handler] = {
        "order": order(settings),
        "stock": stock(settings),
        "payment": payment(settings),
        "delivery": delivery(BuiltInCarrier(())),
    }
    for service, handler in handlers.items():
        assert set(handler.topics) == {topic for topic in TOPICS if service in topic.consumers}, service
