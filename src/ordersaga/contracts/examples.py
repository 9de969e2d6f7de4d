"""One message of each kind, all of the same order: for documents, and for the tests of what is generated from the contract."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ordersaga.contracts import messages as m

ORDER: Final = UUID("8b91c74c-f28d-4f11-823a-8e727ff052c2")
PRODUCT: Final = UUID("6937dc1c-5d67-4222-961c-cfa6421b26df")
OTHER_PRODUCT: Final = UUID("c40e15db-f0a8-4d39-9d8f-af94768c83f6")
CUSTOMER: Final = UUID("edf3ccfe-773d-4da4-9e2d-998c042029b3")
DELIVERY: Final = UUID("b0b61b97-8a36-44b3-832a-629972311544")
PAYMENT_KEY: Final = "tviva20261123_8b91c74c"
REQUEST_ID: Final = "0198c0de-0000-7000-8000-000000000001"
PRODUCTS: Final = (
    m.OrderedProduct(product_id=PRODUCT, quantity=1),
    m.OrderedProduct(product_id=OTHER_PRODUCT, quantity=1),
)
MOMENT: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

_each: Final[tuple[m.Message, ...]] = (
    m.StockDecreaseRequestMessage(order_id=ORDER, products=PRODUCTS),
    m.StockResponseMessage(order_id=ORDER, product_id=PRODUCT, status="SUCCESS", message="2 reserved"),
    m.PaymentSuccessMessage(order_id=ORDER, payment_key=PAYMENT_KEY, amount=25_000, status="SUCCESS"),
    m.DeliveryRequestMessage(
        order_id=ORDER,
        customer_id=CUSTOMER,
        address="1 Sejong-daero, Jung-gu",
        address_detail="12F",
        zipcode="04524",
        phone="010-0000-0000",
        name="김하나",
        delivery_memo="문 앞에 두세요",
    ),
    m.DeliveryStartMessage(order_id=ORDER, delivery_id=DELIVERY, status="STARTED"),
    m.OrderCompletedMessage(
        order_id=ORDER, customer_id=CUSTOMER, status="ORD0002", total_amount=25_000, order_name="keyboard and mouse"
    ),
    m.StockRollbackRequestedMessage(order_id=ORDER, items=PRODUCTS),
    m.StockRollbackCompletedMessage(order_id=ORDER),
    m.StockRollbackFailedMessage(order_id=ORDER, error_message="the order has no reservation"),
    m.PaymentCancelRequestedMessage(
        order_id=ORDER, payment_key=PAYMENT_KEY, amount=25_000, reason="DELIVERY_FAILED", request_id=REQUEST_ID
    ),
    m.PaymentCancelledMessage(
        order_id=ORDER,
        payment_key=PAYMENT_KEY,
        amount=25_000,
        status="SUCCESS",
        balance_amount=0,
        request_id=REQUEST_ID,
    ),
    m.OrderPayableMessage(
        order_id=ORDER, customer_id=CUSTOMER, total_amount=25_000, pay_before=MOMENT, status="ORD0001"
    ),
    m.ProductPriceMessage(product_id=PRODUCT, name="keyboard", price=12_500, changed_at=MOMENT, version=1, active=True),
)
EXAMPLES: Final = {type(each): each for each in _each}
