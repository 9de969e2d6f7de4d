"""Each field of an address reaches every place that has addresses: the body, the message, Delivery's table, the audit's digests."""

import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec

from ordersaga import audit, delivery
from ordersaga.contracts.address import Address, address_fields
from ordersaga.contracts.codec import decode, encode
from ordersaga.contracts.messages import DeliveryRequestMessage
from ordersaga.delivery.store import COLUMNS
from ordersaga.order.model import Facts, Order
from ordersaga.order.outgoing import delivery_request
from ordersaga.order.resources import PlaceOrder

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = Address.__struct_fields__
ADDRESS = Address(**{name: f"the {name}" for name in FIELDS})
DIGEST = re.compile(r"md5\(ROW\(([^)]*)\)::text\)(?: END)? AS address_digest")


def test_an_address_comes_from_the_order_to_delivery_whole() -> None:
    order = Order(UUID(int=1), UUID(int=2), "an order", 1_000, ADDRESS, NOW, NOW, Facts(()))
    message = decode("delivery-request-topic", encode(delivery_request(order)))
    assert Address(*address_fields(message)) == ADDRESS


def test_body_and_message_have_no_field_that_the_address_would_lose() -> None:
    assert set(PlaceOrder.__struct_fields__) - {"order_name", "total_amount", "items"} == set(FIELDS)
    assert set(DeliveryRequestMessage.__struct_fields__) - {"order_id", "customer_id"} == set(FIELDS)


def test_an_address_that_was_stored_by_the_first_version_is_still_read() -> None:
    first = ["address", "addressDetail", "zipcode", "phone", "name", "deliveryMemo"]
    stored = msgspec.json.decode(msgspec.json.encode(dict.fromkeys(first, "x")), type=Address)
    assert stored.name == "x"


def test_each_field_has_a_column_in_deliverys_table() -> None:
    migrations = sorted((Path(delivery.__path__[0]) / "migrations").glob("*.sql"))
    columns = re.findall(
        r"^\s+(?:ADD COLUMN )?([a-z_]+) +(?:uuid|text|timestamptz)\b",
        "\n".join(each.read_text().replace("ADD COLUMN", "\n    ADD COLUMN") for each in migrations),
        re.MULTILINE,
    )
    assert set(COLUMNS) | {"erased_at"} == set(columns)


def test_the_audit_compares_every_field_of_an_address_in_one_order() -> None:
    queries = (Path(audit.__path__[0]) / "queries.sql").read_text()
    of_orders, of_deliveries = DIGEST.findall(queries)
    assert [name.replace("r.", "").strip(' "') for name in of_orders.split(",")] == list(
        Address.__struct_encode_fields__
    )
    assert [name.strip() for name in of_deliveries.split(",")] == list(FIELDS)
