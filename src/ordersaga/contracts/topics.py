"""The topics: what each carries, who writes it and who reads it. The first six are the guide's and stay exactly as they are."""

from operator import attrgetter
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts import messages as m

Role = Literal["order", "stock", "payment", "delivery", "client"]

PARTITIONS_DEFAULT: Final = 12
DEAD_LETTER_SUFFIX: Final = "-dlt"
DEAD_LETTERS_KEPT_DAYS: Final = 90


class Topic(Struct, frozen=True):
    """One topic. `key` names the message's field that is the record key (as a string) and the unit of ordering.

    `kept_days`: for how long Kafka keeps its records. A week is what a consumer may be away without losing any, and Kafka's own default.
    None: for ever the last record of each key, for a topic that tells a state.
    `table`: its records tell a state, of which the last of each key counts, so a consumer without a position reads it from its
    beginning, whatever `start_at` says: an order or a price from before would be unknown for good.
    """

    name: str
    message: type[m.Message]
    producer: Role
    consumer: Role
    key: str = "order_id"
    kept_days: int | None = 7
    table: bool = False

    @property
    def dead_letters(self) -> str:
        """Where records of this topic go that could not be handled."""
        return self.name + DEAD_LETTER_SUFFIX


GUIDE_TOPICS: Final = (
    Topic("order-created", m.StockDecreaseRequestMessage, "order", "stock"),
    Topic("stock-response-topic", m.StockResponseMessage, "stock", "order"),
    Topic("payment-success-topic", m.PaymentSuccessMessage, "payment", "order"),
    Topic("delivery-request-topic", m.DeliveryRequestMessage, "order", "delivery"),
    Topic("delivery-start-topic", m.DeliveryStartMessage, "delivery", "order"),
    Topic("order-completed-topic", m.OrderCompletedMessage, "order", "client", kept_days=30),
)
OUR_TOPICS: Final = (
    Topic("stock-rollback-requested-topic", m.StockRollbackRequestedMessage, "order", "stock"),
    Topic("stock-rollback-completed-topic", m.StockRollbackCompletedMessage, "stock", "order"),
    Topic("stock-rollback-failed-topic", m.StockRollbackFailedMessage, "stock", "order"),
    Topic("payment-cancel-requested-topic", m.PaymentCancelRequestedMessage, "order", "payment"),
    Topic("payment-cancelled-topic", m.PaymentCancelledMessage, "payment", "order"),
    Topic("order-payable-topic", m.OrderPayableMessage, "order", "payment", table=True),
    Topic("product-price-topic", m.ProductPriceMessage, "stock", "order", key="product_id", kept_days=None, table=True),
)
TOPICS: Final = GUIDE_TOPICS + OUR_TOPICS
"""The audit counts completion records, so `order-completed-topic` keeps them for a month. `order-payable-topic` tells a state, but of orders
without end, of which Payment keeps its own copy: a week is enough for it to have been away. A price is needed for as long as there is the
product, by each new Order database."""

BY_NAME: Final[dict[str, Topic]] = {topic.name: topic for topic in TOPICS}
BY_MESSAGE: Final[dict[type[m.Message], Topic]] = {topic.message: topic for topic in TOPICS}
_keys: Final = {topic.message: attrgetter(topic.key) for topic in TOPICS}


def key_of(message: m.Message) -> UUID:
    """The business key of a message: its order id, or the product id where no order is meant."""
    key: UUID = _keys[type(message)](message)
    return key
