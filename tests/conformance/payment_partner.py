"""A Payment of another team, without refunds. `POST` with `paymentKey`, `orderId`, `amount` and `card` confirms; its gateway is in it."""

from typing import ClassVar

from tests.conformance.service_partner import Json, ServicePartner

INT32_MAX = 2**31 - 1
SMALLEST = 1_000


class PaymentPartner(ServicePartner):
    """Publishes each payment's outcome once."""

    reads: ClassVar[tuple[str, ...]] = ("payment-cancel-requested-topic",)
    known: ClassVar[frozenset[str]] = frozenset({"orderId", "paymentKey", "amount", "reason", "requestId"})

    own_topics: ClassVar[dict[str, str]] = {"failures-elsewhere": "payment-failed-topic"}

    def start(self, port: int) -> None:
        self.serve(port, self._confirm)

    def _confirm(self, body: Json) -> Json:
        key, amount = body["paymentKey"], body["amount"]
        if amount < SMALLEST and not self.is_("takes-any-amount"):
            return {"refused": "less than the smallest payment"}
        if amount > INT32_MAX:
            if not self.is_("wraps-around"):
                return {"refused": "no int32"}
            amount -= 2**32
        if key in self.memory:
            if self.is_("fails-repeats"):
                told = {"orderId": body["orderId"], "paymentKey": key, "amount": amount, "status": "FAILED"}
                self.say("payment-success-topic", told)
            return {"known": key}
        self.memory[key] = True
        good = body["card"] == "approve" or self.is_("never-declines")
        if not good and self.is_("silent-about-declines"):
            return {"declined": key}
        told = {
            "orderId": body["orderId"],
            "paymentKey": key,
            "amount": str(amount) if self.is_("amount-as-text") else amount,
        }
        if self.is_("forgets-the-key"):
            told["paymentKey"] = None
        topic = "payment-failed-topic" if self.is_("failures-elsewhere") and not good else "payment-success-topic"
        self.say(topic, told | {"status": "SUCCESS" if good else "FAILED"})
        return {"confirmed": key}

    def answer(self, topic: str, message: Json) -> list[tuple[str, Json]]:
        return []
