"""The topics: what each carries, who writes it and who reads it. The first six are the guide's and stay exactly as they are."""

from collections.abc import Callable
from operator import attrgetter
from typing import Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.contracts import messages as m

Role = Literal["order", "stock", "payment", "delivery", "client"]

CONTRACT_VERSION: Final = "1.0.0"
"""The second number rises with each field or message that is added. The first would rise with a change that breaks a reader; no such change is made
(docs/evolution.md)."""

PARTITIONS_DEFAULT: Final = 12
DEAD_LETTER_SUFFIX: Final = "-dlt"
DEAD_LETTERS_KEPT_DAYS: Final = 90
DAY_MS: Final = 86_400_000
HEADERS_BYTES_MAX: Final = 64 * 1024
MESSAGE_BYTES_DEFAULT: Final = 1_048_588
"""Kafka's default of `max.message.bytes`."""

RETENTION: Final = "retention.ms"
RETENTION_BYTES: Final = "retention.bytes"
CLEANUP: Final = "cleanup.policy"
MESSAGE_BYTES: Final = "max.message.bytes"

GROUPS: Final[dict[str, str]] = {role: f"ordersaga-{role}" for role in ("order", "stock", "payment", "delivery")}
"""The consumer group of each service, if no setting names another one."""


class Topic(Struct, frozen=True):
    """One topic. `key` names the message's field, a UUID, that is the record key (as a string) and the unit of ordering.

    `producer` and `consumers`: the services of the order process that write and read the topic; none for a topic of another system.
    `kept_days`: how long Kafka keeps a record, and so how long a consumer may be down without losing one. A week is Kafka's own default.
    None: the topic is compacted, and Kafka keeps the last record of each key for ever. `table`: the last record of each key is a state. A
    consumer without a position reads the topic from its beginning, whatever `start_at` says; otherwise it would never get a state that was
    published before. `answers`: what each record is answered with, the good outcome first; none where nobody waits for an answer.
    """

    name: str
    message: type[m.Message]
    producer: Role | None = None
    consumers: tuple[Role, ...] = ()
    key: str = "order_id"
    kept_days: int | None = 7
    table: bool = False
    answers: tuple[type[m.Message], ...] = ()

    @property
    def consumer(self) -> Role | None:
        """The first of the consumers: the service whose partitions operators pause, and that gives records up as dead letters."""
        return self.consumers[0] if self.consumers else None

    @property
    def dead_letters(self) -> str:
        """The topic for records of this topic that could not be handled."""
        return self.name + DEAD_LETTER_SUFFIX


GUIDE_TOPICS: Final = (
    Topic("order-created", m.StockDecreaseRequestMessage, "order", ("stock",), answers=(m.StockResponseMessage,)),
    Topic("stock-response-topic", m.StockResponseMessage, "stock", ("order",)),
    Topic("payment-success-topic", m.PaymentSuccessMessage, "payment", ("order",)),
    Topic(
        "delivery-request-topic", m.DeliveryRequestMessage, "order", ("delivery",), answers=(m.DeliveryStartMessage,)
    ),
    Topic("delivery-start-topic", m.DeliveryStartMessage, "delivery", ("order",)),
    Topic("order-completed-topic", m.OrderCompletedMessage, "order", ("client",), kept_days=30),
)
OUR_TOPICS: Final = (
    Topic(
        "stock-rollback-requested-topic",
        m.StockRollbackRequestedMessage,
        "order",
        ("stock",),
        answers=(m.StockRollbackCompletedMessage, m.StockRollbackFailedMessage),
    ),
    Topic("stock-rollback-completed-topic", m.StockRollbackCompletedMessage, "stock", ("order",)),
    Topic("stock-rollback-failed-topic", m.StockRollbackFailedMessage, "stock", ("order",)),
    Topic(
        "payment-cancel-requested-topic",
        m.PaymentCancelRequestedMessage,
        "order",
        ("payment",),
        answers=(m.PaymentCancelledMessage,),
    ),
    Topic("payment-cancelled-topic", m.PaymentCancelledMessage, "payment", ("order",)),
    Topic("order-payable-topic", m.OrderPayableMessage, "order", ("payment",), table=True),
    Topic(
        "product-price-topic", m.ProductPriceMessage, "stock", ("order",), key="product_id", kept_days=None, table=True
    ),
)
TOPICS: Final = GUIDE_TOPICS + OUR_TOPICS
"""`order-completed-topic` keeps its records for a month, since the audit counts them. `order-payable-topic` has a state for each order and would
grow without end if it were compacted; Payment keeps a copy, so a week is enough. `product-price-topic` is compacted: a new Order database
needs the price of every product."""

BY_NAME: Final[dict[str, Topic]] = {}
BY_MESSAGE: Final[dict[type[m.Message], Topic]] = {}
_keys: Final[dict[type[m.Message], Callable[[m.Message], UUID]]] = {}


def register(topic: Topic) -> None:
    """Make a topic findable by its name and its message. Raises `ValueError` where one of the two is taken."""
    for taken in (BY_NAME.get(topic.name), BY_MESSAGE.get(topic.message)):
        if taken is not None:
            raise ValueError(
                f"{topic.message.__name__} on {topic.name}: {taken.message.__name__} is already declared on {taken.name}"
            )
    if not any(field.name == topic.key and field.type is UUID for field in msgspec.structs.fields(topic.message)):
        raise ValueError(
            f"{topic.name}: the key {topic.key!r} must be a field of {topic.message.__name__}, of type UUID"
        )
    BY_NAME[topic.name] = topic
    BY_MESSAGE[topic.message] = topic
    _keys[topic.message] = attrgetter(topic.key)


for _topic in TOPICS:
    register(_topic)


def configs(topic: Topic) -> dict[str, str]:
    """The configs that the topic needs in Kafka: compacted without `kept_days`, else records are deleted after so many days."""
    if topic.kept_days is None:
        return {CLEANUP: "compact"}
    return {CLEANUP: "delete", RETENTION: str(topic.kept_days * DAY_MS), RETENTION_BYTES: "-1"}


def letter_configs(record_bytes_max: int = MESSAGE_BYTES_DEFAULT) -> dict[str, str]:
    """The configs of a dead letter topic. A letter is as large as its record, which the record's topic limits, plus its headers."""
    kept = {CLEANUP: "delete", RETENTION: str(DEAD_LETTERS_KEPT_DAYS * DAY_MS), RETENTION_BYTES: "-1"}
    return kept | {MESSAGE_BYTES: str(record_bytes_max + HEADERS_BYTES_MAX)}


def key_of(message: m.Message) -> UUID:
    """The business key of a message: the field that its topic names as key, such as the order id."""
    return _keys[type(message)](message)
