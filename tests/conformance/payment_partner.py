"""A Payment of another team. `POST` with `paymentKey`, `orderId`, `amount` and `card` confirms; its gateway is in it."""

from typing import ClassVar
from uuid import uuid4

from tests.conformance.service_partner import Bad, Json, ServicePartner

INT32_MAX = 2**31 - 1
SMALLEST = 1_000


class PaymentPartner(ServicePartner):
    """Publishes each payment's outcome once."""

    reads: ClassVar[tuple[str, ...]] = ("payment-cancel-requested-topic",)
    optional: ClassVar[frozenset[str]] = frozenset({"reason", "requestId"})
    known: ClassVar[frozenset[str]] = frozenset({"orderId", "paymentKey", "amount", "reason", "requestId"})

    own_topics: ClassVar[dict[str, str]] = {
        "failures-elsewhere": "payment-failed-topic",
        "writes-a-journal": "payment-journal",
    }

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
            return self._known(body, key, amount)
        good = body["card"] == "approve" or self.is_("never-declines")
        if not good and self.is_("silent-about-declines"):
            return {"declined": key}
        told = {
            "orderId": body["orderId"],
            "paymentKey": key,
            "amount": {"amount-as-text": str(amount), "amount-with-decimals": float(amount)}.get(self.manner, amount),
        }
        if self.is_("takes-a-fee"):
            told["amount"] = amount - amount * 3 // 100
        if self.is_("rounds-to-tens"):
            told["amount"] = amount // 10 * 10
        if self.is_("has-room-for-short-keys"):
            told["paymentKey"] = key[:20]
        if self.is_("forgets-the-key"):
            told["paymentKey"] = None
        self.memory[key] = {
            "order": body["orderId"],
            "left": amount if good or self.is_("refunds-the-declined") else 0,
            "whole": amount,
            "refunds": {},
        }
        self.forget_the_oldest(self.memory)
        if self.is_("tells-before-the-gateway") and not good:
            self.say("payment-success-topic", told | {"status": "SUCCESS"})
        topic = "payment-failed-topic" if self.is_("failures-elsewhere") and not good else "payment-success-topic"
        self.say(topic, told | {"status": "SUCCESS" if good else "FAILED"})
        return {"confirmed": key}

    def _known(self, body: Json, key: str, amount: int) -> Json:
        """A payment that was confirmed before."""
        told = {"orderId": body["orderId"], "paymentKey": key, "amount": amount}
        if (
            self.is_("answers-each-repeat-twice")
            and self.memory[key]["left"]
            and body["orderId"] in self.memory[key].values()
        ):
            for _ in range(2):
                self.say("payment-success-topic", told | {"status": "SUCCESS"})
        if self.is_("fails-repeats"):
            self.say("payment-success-topic", told | {"status": "FAILED"})
        if self.is_("pays-any-order-with-a-known-key") and self.memory[key]["order"] != body["orderId"]:
            self.say("payment-success-topic", told | {"status": "SUCCESS"})
        return {"known": key}

    def answer(self, topic: str, message: Json) -> list[tuple[str, Json]]:
        """Refund, if that much is left of the payment. A refund is known by its `requestId`, or else by its amount."""
        amount = self._amount(message)
        if self.is_("needs-a-reason") and not message.get("reason"):
            raise Bad("no reason")
        if self.is_("has-room-for-short-reasons") and len(message.get("reason") or "") > 100:
            raise Bad("value too long for type character varying(100)")
        payment = self.memory.get(str(message.get("paymentKey")))
        if payment is not None and payment["order"] != message["orderId"] and not self.is_("refunds-for-any-order"):
            payment = None
        if payment is None and self.is_("silent-about-unknown-payments"):
            return []
        refund = str(amount) if self.is_("knows-refunds-by-amount") else str(message.get("requestId") or amount)
        if self.is_("refunds-a-payment-once"):
            refund = "the refund"
        done = payment["refunds"].get(refund) if payment and not self.is_("refunds-repeats-again") else None
        if done is None:
            most = "whole" if self.is_("compares-with-the-whole") else "left"
            done = payment is not None and (amount <= payment[most] or self.is_("refunds-too-much"))
            if payment is not None:
                payment["left"] -= (payment["left"] if self.is_("refunds-all-at-once") else amount) if done else 0
                payment["refunds"][refund] = done
        told = {name: message.get(name) for name in ("orderId", "paymentKey", "amount", "requestId")}
        if self.is_("another-request-id"):
            told["requestId"] = str(uuid4())
        if payment is not None:
            told["amount"] = payment["whole"] if self.is_("refund-says-the-whole") else amount
            told["balanceAmount"] = amount if self.is_("refund-as-balance") else payment["left"]
        return [("payment-cancelled-topic", told | {"status": "SUCCESS" if done else "FAILED", "message": None})]

    def _amount(self, message: Json) -> int:
        amount = message.get("amount")
        if amount is None and self.is_("takes-null-for-nothing"):
            return 0
        if not isinstance(amount, int) or (amount < 1 and not self.is_("refunds-less-than-nothing")):
            raise Bad("no amount")
        return amount
