"""A Delivery of another team."""

from typing import ClassVar
from uuid import NAMESPACE_OID, uuid4, uuid5

from tests.conformance.service_partner import Bad, Json, ServicePartner

FIELDS = ("orderId", "customerId", "address", "addressDetail", "zipcode", "phone", "name", "deliveryMemo")


class DeliveryPartner(ServicePartner):
    """Starts a delivery for each order, and refuses zipcodes that begin with 63."""

    reads: ClassVar[tuple[str, ...]] = ("delivery-request-topic",)
    known: ClassVar[frozenset[str]] = frozenset(FIELDS)
    own_topics: ClassVar[dict[str, str]] = {
        "wrong-topic": "started-deliveries",
        "writes-a-journal": "delivery-journal",
        "letters-elsewhere": "failed-delivery-request-topic",
        "letters-in-one-queue": "dead-letters",
        "retries-first": "delivery-request-topic-retry",
    }
    optional: ClassVar[frozenset[str]] = frozenset({"addressDetail", "deliveryMemo"})

    def answer(self, topic: str, message: Json) -> list[tuple[str, Json]]:
        order = message["orderId"]
        if not isinstance(message.get("address") or "", str):
            raise Bad("address is no text")
        refused = str(message.get("zipcode")).startswith("63") or not message.get("address")
        if refused and self.is_("silent-about-failures"):
            return []
        if self.is_("silent-about-repeats") and order in self.memory:
            return []
        if self.is_("has-room-for-short-texts") and any(len(message.get(name) or "") > 100 for name in FIELDS):
            raise Bad("value too long for type character varying(100)")
        if self.is_("knows-no-emoji") and "🚚" in str(message.get("address")):
            raise Bad("Incorrect string value")
        if self.is_("fails-repeats"):
            refused = refused or order in self.memory
        if refused and self.is_("starts-the-refused-again"):
            refused = order not in self.memory
        delivery = self._delivery_of(order, message)
        named: str | int | None = None if self.is_("names-no-delivery") else delivery
        if self.is_("numbers-its-deliveries"):
            named = [*self.memory].index(order) + 1
        if self.is_("no-text-for-no-delivery") and refused:
            named = ""
        return [
            (
                "delivery-start-topic",
                {"orderId": order, "deliveryId": named, "status": "FAILED" if refused else "STARTED"},
            )
        ]

    def _delivery_of(self, order: str, message: Json) -> str:
        """The id of the order's delivery."""
        deliveries_of = order
        if self.is_("one-delivery-a-customer"):
            deliveries_of = message["customerId"].lower()
        if self.is_("one-delivery-an-address"):
            deliveries_of = str(message["address"])
        if self.is_("knows-repeats-by-their-message-id") and self.message_id:
            deliveries_of = self.message_id
        delivery = str(uuid5(NAMESPACE_OID, deliveries_of))
        if self.is_("forgets-all-on-restart") or self.is_("remembers-thirty"):
            delivery = self.memory.get(order) or str(uuid4())
        if self.is_("forgets-repeats"):
            delivery = str(uuid4())
        self.memory[order] = delivery
        self.forget_the_oldest(self.memory)
        return delivery
