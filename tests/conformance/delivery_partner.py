"""A Delivery of another team."""

from typing import ClassVar
from uuid import NAMESPACE_OID, uuid4, uuid5

from tests.conformance.service_partner import Bad, Json, ServicePartner

FIELDS = ("orderId", "customerId", "address", "addressDetail", "zipcode", "phone", "name", "deliveryMemo")


class DeliveryPartner(ServicePartner):
    """Starts a delivery for each order, and refuses zipcodes that begin with 63."""

    reads: ClassVar[tuple[str, ...]] = ("delivery-request-topic",)
    known: ClassVar[frozenset[str]] = frozenset(FIELDS)
    own_topics: ClassVar[dict[str, str]] = {"wrong-topic": "started-deliveries"}
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
        deliveries_of = message["customerId"].lower() if self.is_("one-delivery-a-customer") else order
        self.memory[order] = True
        delivery = uuid4() if self.is_("forgets-repeats") else uuid5(NAMESPACE_OID, deliveries_of)
        return [
            (
                "delivery-start-topic",
                {"orderId": order, "deliveryId": str(delivery), "status": "FAILED" if refused else "STARTED"},
            )
        ]
