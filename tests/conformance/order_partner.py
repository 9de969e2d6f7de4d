"""An Order of another team. Orders are placed over HTTP with the body of the wire facts, and ended with `{"end": orderId}`."""

import struct
from typing import ClassVar
from uuid import uuid4

from tests.conformance.service_partner import Bad, Json, ServicePartner

STOCK, PAYMENT, DELIVERY = "stock-response-topic", "payment-success-topic", "delivery-start-topic"
ADDRESS = ("address", "addressDetail", "zipcode", "phone", "name", "deliveryMemo")


class OrderPartner(ServicePartner):
    """Asks for the delivery once all products are reserved and the total is paid; a started delivery completes the order. An order that has
    ended gives back what it holds, also what comes later."""

    reads: ClassVar[tuple[str, ...]] = (STOCK, PAYMENT, DELIVERY)
    own_topics: ClassVar[dict[str, str]] = {"writes-a-journal": "order-journal"}
    known: ClassVar[frozenset[str]] = frozenset(
        {"orderId", "productId", "status", "message", "paymentKey", "amount", "deliveryId"}
    )
    optional: ClassVar[frozenset[str]] = frozenset({"message"})

    def start(self, port: int) -> None:
        self.orders: dict[str, Json] = self.memory.setdefault("orders", {})
        self.serve(port, lambda body: self._end(body["end"]) if "end" in body else self._place(body))

    def _end(self, id: str) -> Json:
        """The customer cancels the order, or returns it."""
        order = self.orders[id]
        is_return = order["state"] == "completed"
        if is_return and self.is_("forgets-returns"):
            return {}
        for topic, message in self._given_back(id, order):
            self.say(topic, message)
        if not self.is_("delivers-the-cancelled") or is_return:
            order["state"] = "dead"
        self.save()
        return {}

    def _place(self, body: Json) -> Json:
        order = str(uuid4())
        self.orders[order] = {
            "body": body,
            "customer": str(uuid4()),
            "open": [line["productId"].lower() for line in body["items"]],
            "products": [line["productId"].lower() for line in body["items"]],
            "paid": False,
            "state": "placed",
            "reserved": [],
            "payments": {},
            "released": [],
            "refunded": [],
        }
        self.save()
        products = [{"productId": line["productId"], "quantity": line["quantity"]} for line in body["items"]]
        if self.is_("asks-for-the-first-product-alone"):
            products = products[:1]
        if self.is_("asks-for-one-piece-each"):
            products = [line | {"quantity": 1} for line in products]
        self.say("order-created", {"orderId": order, "products": products})
        if self.is_("asks-stock-twice"):
            self.say("order-created", {"orderId": order, "products": products})
        return {"orderId": order}

    def answer(self, topic: str, message: Json) -> list[tuple[str, Json]]:
        self._check(topic, message)
        order = self.orders.get(message["orderId"])
        if self.is_("knows-orders-by-product") and topic == STOCK and message.get("productId"):
            product = message["productId"].lower()
            named = message["orderId"]
            id = next((id for id, each in self.orders.items() if product in each["products"]), named)
            order, message = self.orders.get(id), message | {"orderId": id}
        if order is None:
            raise Bad("no such order")
        good = message["status"] in ("SUCCESS", "STARTED")
        match topic:
            case "stock-response-topic":
                self._stock(order, message, good)
            case "payment-success-topic":
                self._payment(order, message, good)
            case _:
                return self._delivered(message["orderId"], order, good)
        if self.is_("gives-back-the-completed") and order["state"] == "completed" and not good:
            return self._given_back(message["orderId"], order)
        return self._delivery_request(message["orderId"], order) + self._owed(message["orderId"], order)

    def _check(self, topic: str, message: Json) -> None:
        if self.is_("null-status-is-success") and topic == PAYMENT and message.get("status") is None:
            message["status"] = "SUCCESS"
        if message.get("status") not in ("SUCCESS", "STARTED", "FAILED"):
            raise Bad("no status")
        if topic == PAYMENT and message.get("amount") is None and self.is_("takes-null-for-the-total"):
            message["amount"] = self.orders[message["orderId"]]["body"]["totalAmount"]
        if topic == PAYMENT and not isinstance(message.get("amount"), int):
            raise Bad("no amount")

    def _owed(self, id: str, order: Json) -> list[tuple[str, Json]]:
        """What an order holds that has ended, or that was paid twice."""
        if order["state"] == "dead":
            return self._given_back(id, order)
        more = list(order["payments"])[1:] if not self.is_("forgets-second-payments") else []
        return self._refunds(id, order, more)

    def _given_back(self, id: str, order: Json) -> list[tuple[str, Json]]:
        held = [line["productId"].lower() for line in order["body"]["items"]]
        if not self.is_("releases-the-whole-order"):
            held = [name for name in held if name in order["reserved"]]
        held = [name for name in held if name not in order["released"]]
        order["released"] += held
        items = [line for line in order["body"]["items"] if line["productId"].lower() in held]
        lines = [{"productId": line["productId"], "quantity": line["quantity"]} for line in items]
        if self.is_("releases-one-piece-each"):
            lines = [line | {"quantity": 1} for line in lines]
        refunds = self._refunds(id, order, list(order["payments"]))
        if not lines or self.is_("forgets-to-release"):
            return refunds
        rollback = ("stock-rollback-requested-topic", {"orderId": id, "items": lines})
        return [*refunds, rollback, rollback] if self.is_("releases-twice") else [*refunds, rollback]

    def _refunds(self, id: str, order: Json, keys: list[str]) -> list[tuple[str, Json]]:
        if self.is_("forgets-to-refund"):
            return []
        asked = []
        for key in keys:
            if key not in order["refunded"] or self.is_("refunds-repeats-again"):
                total = self.is_("refunds-the-total")
                amount = order["body"]["totalAmount"] if total else order["payments"][key]
                told = {"orderId": id, "paymentKey": key, "amount": amount, "reason": "주문 취소"}
                asked.append(("payment-cancel-requested-topic", told | {"requestId": str(uuid4())}))
        order["refunded"] += keys
        return asked

    def _stock(self, order: Json, message: Json, good: bool) -> None:
        if good and not (order["state"] == "dead" and self.is_("forgets-late-answers")):
            whole = [line["productId"].lower() for line in order["body"]["items"]]
            order["reserved"] += [message["productId"].lower()] if message.get("productId") else whole
        if not good and not self.is_("ignores-stock-failures"):
            order["state"] = order["state"] if order["state"] in ("asked", "completed") else "dead"
        elif good and order["state"] == "dead" and self.is_("last-stock-answer-counts"):
            order["state"], order["open"] = "placed", []
        elif message.get("productId") is None:
            order["open"] = []
        elif self.is_("counts-stock-answers"):
            order["open"] = order["open"][1:]
        elif self.is_("counts-answered-products"):
            order.setdefault("answered", []).append(message["productId"].lower())
            order["open"] = order["products"][len(set(order["answered"])) :]
        else:
            order["open"] = [name for name in order["open"] if name != message["productId"].lower()]

    def _payment(self, order: Json, message: Json, good: bool) -> None:
        if good and not (order["state"] == "dead" and self.is_("forgets-late-answers")):
            order["payments"].setdefault(message["paymentKey"], message["amount"])
        if order["paid"]:
            return
        if order["open"] and self.is_("drops-early-payments"):
            order["payments"].clear()
            return
        over = message["amount"] - order["body"]["totalAmount"]
        tolerated = self.is_("takes-any-amount") or (over > 0 and self.is_("takes-too-much"))
        tolerated = tolerated or (abs(over) < 100 and self.is_("rounds-to-hundreds"))
        if not good or (over and not tolerated):
            order["state"] = "dead"
        order["paid"] = good

    def _delivery_request(self, id: str, order: Json) -> list[tuple[str, Json]]:
        reserved = not order["open"] or self.is_("delivers-unreserved")
        paid = order["paid"] or self.is_("delivers-unpaid")
        asked_again = self.is_("asks-again") and order["state"] == "asked"
        if not (reserved and paid and (order["state"] == "placed" or asked_again)):
            return []
        order["state"] = "asked"
        source = [*self.orders.values()][-1] if self.is_("delivers-to-the-newest-customer") else order
        address = {name: source["body"].get(name) for name in ADDRESS}
        if self.is_("spoils-korean"):
            address = {name: text.encode("ascii", "replace").decode() for name, text in address.items()}
        if self.is_("cuts-texts-by-bytes"):
            address = {name: text.encode()[:120].decode(errors="ignore") for name, text in address.items()}
        if self.is_("loses-the-memo"):
            address["deliveryMemo"] = None
        if self.is_("swaps-the-address"):
            address |= {"address": address["addressDetail"], "addressDetail": address["address"]}
        if self.is_("zipcode-as-a-number"):
            address["zipcode"] = str(int(address["zipcode"]))
        asked = ("delivery-request-topic", {"orderId": id, "customerId": order["customer"], **address})
        return [asked, self._completion(id, order)] if self.is_("completes-at-once") else [asked]

    def _delivered(self, id: str, order: Json, good: bool) -> list[tuple[str, Json]]:
        again = order["state"] == "dead" and self.is_("refunds-repeats-again")
        if order["state"] != "asked" and not (self.is_("completes-again") and order["state"] == "completed"):
            return self._given_back(id, order) if again and not good else []
        order["state"] = "completed" if good or self.is_("completes-failed-deliveries") else "dead"
        if order["state"] == "dead":
            return self._given_back(id, order)
        return [] if self.is_("completes-at-once") else [self._completion(id, order)]

    def _completion(self, id: str, order: Json) -> tuple[str, Json]:
        body = order["body"]
        status = "DONE" if self.is_("wrong-code") else "ORD0002"
        customer = str(uuid4()) if self.is_("completes-for-another-customer") else order["customer"]
        total = body["totalAmount"]
        if self.is_("total-of-one-piece"):
            total //= body["items"][0]["quantity"]
        if self.is_("rounds-the-total"):
            total = total // 100 * 100
        if self.is_("total-as-text"):
            total = str(total)
        if self.is_("total-as-float"):
            (total,) = map(int, struct.unpack("f", struct.pack("f", total)))
        told = {"orderId": id, "customerId": customer, "status": status}
        return ("order-completed-topic", told | {"totalAmount": total, "orderName": body["orderName"]})
