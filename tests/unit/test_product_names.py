"""The console's names of products: asked for once in a while, and told while Stock is away."""

from typing import Any, cast
from uuid import UUID

import pytest

from ordersaga.web.console import product_names
from ordersaga.web.console.product_names import ProductNames
from ordersaga.web.services import Unavailable
from ordersaga.web.shop.model import Product

CUP, LAMP, GONE = UUID(int=1), UUID(int=2), UUID(int=3)


class Stock:
    answers = True
    asked = 0

    async def get(self, service: str, path: str, *_: Any, **__: Any) -> Product | None:
        self.asked += 1
        if not self.answers:
            raise Unavailable("stock")
        name = {CUP: "Cup / 컵", LAMP: "Lamp"}.get(UUID(path.rpartition("/")[2]))
        return Product(CUP, name, 100, 1) if name else None


async def test_a_name_is_asked_for_once_and_again_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = Stock()
    names = ProductNames(cast(Any, stock), True)
    assert await names.of([CUP, GONE, CUP]) == {CUP: "Cup / 컵"}
    assert await names.of([CUP, GONE]) == {CUP: "Cup / 컵"} and stock.asked == 2
    monkeypatch.setattr(product_names, "FRESH_S", -1.0)
    assert await names.of([CUP]) == {CUP: "Cup / 컵"} and stock.asked == 3


async def test_while_stock_is_away_the_known_names_are_told_and_the_others_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stock = Stock()
    names = ProductNames(cast(Any, stock), True)
    await names.of([CUP])
    stock.answers = False
    monkeypatch.setattr(product_names, "FRESH_S", -1.0)
    assert await names.of([CUP, LAMP]) == {CUP: "Cup / 컵"}


async def test_another_teams_stock_is_not_asked() -> None:
    stock = Stock()
    assert await ProductNames(cast(Any, stock), False).of([CUP]) == {} and stock.asked == 0
