"""What the audit's sentences name, by which the console links them."""

from uuid import uuid4

from ordersaga.audit.mentions import Mentions, mentions

ORDER, OTHER, PRODUCT, LETTER = (uuid4() for _ in range(4))


def test_a_sentence_about_an_order_names_it_and_not_another_that_it_compares_it_with() -> None:
    assert mentions(f"{ORDER}: 0 records", False) == Mentions(order_id=ORDER)
    assert mentions(f"pay_1 of order {ORDER}: open, and its payment is of order {OTHER}", False).order_id == ORDER
    assert mentions(f"{ORDER}: Stock answered for product {PRODUCT}", False) == Mentions(
        order_id=ORDER, product_id=PRODUCT
    )


def test_a_sentence_about_a_product_names_it_and_its_order() -> None:
    assert mentions(f"{PRODUCT}: 3 reserved, orders hold 2", True) == Mentions(product_id=PRODUCT)
    assert mentions(f"{PRODUCT}: order {ORDER}: its reservation says", True) == Mentions(
        product_id=PRODUCT, order_id=ORDER
    )


def test_a_sentence_about_a_service_names_its_topic_as_far_as_it_says() -> None:
    assert mentions("order: 1 record for order-created, the oldest 65 s old", False) == Mentions(
        service="order", topic="order-created"
    )
    assert mentions("stock: order-created/0 is 3 records behind", False) == Mentions(
        service="stock", topic="order-created", partition=0
    )
    assert mentions("stock: of-another-team/2 is 3 records behind", False) == Mentions(
        service="stock", topic="of-another-team", partition=2
    )
    assert mentions("delivery: 1 behind and with delivery-request-topic/3/42, which", False) == Mentions(
        service="delivery", topic="delivery-request-topic", partition=3, offset=42
    )


def test_a_sentence_about_a_dead_letter_names_it_and_its_record() -> None:
    named = Mentions(service="stock", letter_id=LETTER, topic="order-created", partition=0, offset=42)
    assert mentions(f"stock: {LETTER} of order-created/0/42 is DISCARDED, no operator", False) == named
    on_kafka = mentions(f"stock: order-created-dlt/0/7 is dead letter {LETTER} of order-created/0/42", False)
    assert (on_kafka.letter_id, on_kafka.topic, on_kafka.offset) == (LETTER, "order-created-dlt", 7)


def test_a_sentence_that_names_nothing_names_nothing() -> None:
    assert mentions("order's database: Connection refused", False) == Mentions()
    assert mentions("", False) == Mentions()
