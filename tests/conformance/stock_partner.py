"""A Stock of another team. Products are put in stock over HTTP: `POST /products` with `productId` and `quantity`."""

from typing import ClassVar

from tests.conformance.service_partner import Bad, Json, ServicePartner

WRAP = 2**32


class StockPartner(ServicePartner):
    """Takes an order's products all or nothing, and gives them back."""

    reads: ClassVar[tuple[str, ...]] = ("order-created", "stock-rollback-requested-topic")
    own_topics: ClassVar[dict[str, str]] = {"writes-a-journal": "stock-journal"}
    known: ClassVar[frozenset[str]] = frozenset({"orderId", "products", "items"})

    def start(self, port: int) -> None:
        self.shelf: dict[str, int] = self.memory.setdefault("shelf", {})
        self.orders: dict[str, Json] = self.memory.setdefault("orders", {})
        self.serve(port, self._put_on_the_shelf)

    def kept(self) -> Json:
        if self.is_("forgets-orders-on-restart"):
            return {"shelf": self.shelf}
        if self.is_("forgets-rollbacks-on-restart"):
            return {
                "shelf": self.shelf,
                "orders": {id: each | self._as_taken(each) for id, each in self.orders.items()},
            }
        return self.memory

    def _as_taken(self, order: Json) -> Json:
        return {"state": "taken", "short": [], "back": {}} if order["state"] == "given back" else {}

    def _put_on_the_shelf(self, body: Json) -> Json:
        self.shelf[body["productId"].lower()] = body["quantity"]
        self.save()
        return {"productId": body["productId"]}

    def answer(self, topic: str, message: Json) -> list[tuple[str, Json]]:
        lines = message.get("products" if topic == "order-created" else "items")
        if not isinstance(lines, list):
            raise Bad("no list of products")
        wanted: dict[str, int] = {}
        for line in lines:
            name = line["productId"].lower()
            before = 0 if self.is_("last-line-wins") else wanted.get(name, 0)
            pieces = (line["quantity"] or 0) if self.is_("takes-null-for-nothing") else line["quantity"]
            if not isinstance(pieces, int):
                raise Bad("no quantity")
            wanted[name] = before + pieces
            if self.is_("knows-small-numbers-alone") and pieces > 32_767:
                raise Bad("smallint out of range")
        least = 0 if self.is_("takes-null-for-nothing") else 1
        if any(pieces < least for pieces in wanted.values()) and not self.is_("takes-negative-quantities"):
            raise Bad("a quantity that is none")
        if self.is_("wraps-around"):
            wanted = {name: (pieces + WRAP // 2) % WRAP - WRAP // 2 for name, pieces in wanted.items()}
        return self._take(message["orderId"], wanted) if topic == "order-created" else self._give_back(message, wanted)

    def _take(self, order: str, wanted: dict[str, int]) -> list[tuple[str, Json]]:
        known = self.orders.get(order)
        judged_again = {"takes-repeats-again": "taken", "judges-the-refused-again": "refused"}.get(self.manner)
        is_other = known is not None and known.get("bytes", self.bytes_now) != self.bytes_now
        if is_other and self.is_("knows-repeats-by-their-bytes"):
            known = None
        if known is not None and known["state"] != judged_again:
            if self.is_("fails-repeats"):
                known = known | {"state": "refused"}
            return self._answers(order, known)
        if self.is_("silent-about-unknown-products") and not set(wanted) <= set(self.shelf):
            return []
        short = self._short(wanted)
        if not short or self.is_("keeps-what-it-refuses"):
            for name, pieces in wanted.items():
                if name not in short and (name == next(iter(wanted)) or not self.is_("takes-the-first-line-alone")):
                    self.shelf[name] = self.shelf.get(name, 0) - pieces
        state = "refused" if short else "taken"
        self.orders[order] = {"state": state, "products": wanted, "short": short, "bytes": self.bytes_now}
        self.forget_the_oldest(self.orders)
        return self._answers(order, self.orders[order])

    def _short(self, wanted: dict[str, int]) -> list[str]:
        """The products of which there is not enough."""
        if self.is_("oversells"):
            return [name for name in wanted if name not in self.shelf]
        more = {"refuses-the-last-piece": 1, "oversells-by-one": -1}.get(self.manner, 0)
        short = [name for name, pieces in wanted.items() if self.shelf.get(name, 0) < pieces + more]
        if self.is_("looks-at-the-first-product-alone"):
            return short if short[:1] == list(wanted)[:1] else []
        return short

    def _answers(self, order: str, known: Json) -> list[tuple[str, Json]]:
        if self.is_("decides-for-the-whole-order"):
            status = "SUCCESS" if known["state"] == "taken" else "FAILED"
            return [("stock-response-topic", {"orderId": order, "productId": None, "status": status, "message": None})]
        if known["state"] == "taken":
            said = dict.fromkeys(known["products"], "SUCCESS")
        else:
            word = "OUT_OF_STOCK" if self.is_("own-word-for-failures") else "FAILED"
            said = dict.fromkeys(known["short"] or known["products"], word)
        if self.is_("names-the-first-product-alone"):
            first = next(iter(said))
            told = [
                {"orderId": order, "productId": first, "status": status, "message": None} for status in said.values()
            ]
            return [("stock-response-topic", each) for each in told]
        if self.is_("swaps-answers") and known["products"]:
            said = dict(
                zip(
                    known["products"],
                    reversed(["FAILED" if name in known["short"] else "SUCCESS" for name in known["products"]]),
                    strict=True,
                )
            )
        if self.is_("answers-the-first-product-alone"):
            said = dict(list(said.items())[:1])
        return [
            ("stock-response-topic", {"orderId": order, "productId": name, "status": status, "message": status.lower()})
            for name, status in said.items()
        ]

    def _give_back(self, message: Json, wanted: dict[str, int]) -> list[tuple[str, Json]]:
        order = message["orderId"]
        if order not in self.orders and self.is_("forgets-early-rollbacks"):
            return [("stock-rollback-completed-topic", {"orderId": order})]
        known = self.orders.setdefault(order, {"state": "given back", "products": {}, "short": list(wanted)})
        if known["state"] != "taken" and not known.get("back") and self.is_("silent-about-empty-rollbacks"):
            return []
        if self.is_("gives-back-the-whole-order"):
            wanted = dict(known["products"])
        held = known["products"] if known["state"] == "taken" else {}
        known.setdefault("back", {})
        if self.is_("knows-rollbacks-by-their-bytes") and self.bytes_now != known.setdefault(
            "rollback", self.bytes_now
        ):
            known["back"] = {}
        if self.is_("gives-back-one-rollback") and known["back"]:
            return [("stock-rollback-completed-topic", {"orderId": order})]
        for name, pieces in wanted.items():
            if name in held and held[name] != pieces and not self.is_("gives-back-what-is-asked"):
                text = f"{held[name]} were taken, not {pieces}"
                return [("stock-rollback-failed-topic", {"orderId": order, "errorMessage": text})]
            if name in known["products"] and (name not in known["back"] or self.is_("gives-back-twice")):
                if known["state"] != "refused" or self.is_("gives-back-the-refused"):
                    self.shelf[name] += pieces - (1 if self.is_("gives-back-one-less") else 0)
                known["back"][name] = pieces
        if known["state"] == "taken" and set(known["back"]) == set(held):
            known |= {"state": "given back", "short": list(held)}
        done = ("stock-rollback-completed-topic", {"orderId": order})
        failed = ("stock-rollback-failed-topic", {"orderId": order, "errorMessage": None})
        if self.is_("fails-every-rollback"):
            return [failed]
        return [done, failed] if self.is_("completes-and-fails") else [done]
