"""Our Stock takes over from another team's, with its catalogue: what docs/partners.md says to type is typed here, step by step."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import httpx
import psutil
import pytest

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.system import System
from tests.commands import type_command
from tests.conformance.running_partner import RunningPartner

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

PAGE: Final = Path(__file__).parents[2] / "docs" / "partners.md"
LIMIT_S: Final = 60.0
PRICE: Final = 12_500
FOREIGN: Final = "ORDERSAGA_FOREIGN_PARTNERS"
OPERATOR: Final = "00000000-0000-4000-8000-000000000001"


def steps() -> tuple[str, str, str]:
    """What the page says to type: start our Stock, add the products, add the pieces of an order that gives them back."""
    text = PAGE.read_text()
    section = text[text.index("**A Stock with its catalogue.**") : text.index("**One of ours by yours.**")]
    start, add, give_back = re.findall(r"^   ```sh\n(.*?)^   ```$", section, re.MULTILINE | re.DOTALL)
    return start, add, give_back


class Shell:
    """Where the operator types, beside a running system."""

    def __init__(self, system: System, folder: Path, port: int, group: str) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self._environment = os.environ | system.environment
        self._environment |= {FOREIGN: "[]", "ORDERSAGA_HTTP_PORT": str(port), "YOURS": group, "stock": self.url}
        self._environment |= {"operator": OPERATOR, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def type(self, block: str, **variables: str) -> None:
        with (self.folder / "typed.log").open("a+") as log:
            done = subprocess.run(
                ["sh", "-eu", "-c", block], cwd=self.folder, env=self._environment | variables, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False,
            )  # fmt: skip
        assert done.returncode == 0, (self.folder / "typed.log").read_text()


class Shop:
    """A customer, over HTTP alone."""

    def __init__(self, system: System, product: str) -> None:
        self._urls, self._product = system.urls, product
        self._customer = {"User-Id": str(uuid4()), "User-Roles": "CUSTOMER", "Prefer": "wait=10"}

    def place(self, pieces: int, total: int | None = None) -> httpx.Response:
        address = {"address": "1 Sejong-daero", "zipcode": "04524", "phone": "010-0000-0000", "name": "김하나"}
        body = {"orderName": "keyboard", "totalAmount": pieces * PRICE if total is None else total, **address}
        return self._post(
            "order", "/api/v1/orders", body | {"items": [{"productId": self._product, "quantity": pieces}]}
        )

    def reserved(self, pieces: int) -> str:
        order = self.place(pieces).json()
        assert (order["status"], order["items"][0]["stock"]) == ("PENDING", "RESERVED"), order
        return str(order["orderId"])

    def pay(self, order: str, pieces: int) -> None:
        amount = pieces * PRICE
        made = self._post("sandbox", "/sandbox/payments", {"orderId": order, "amount": amount, "card": "approve"})
        confirm = {"paymentKey": made.json()["paymentKey"], "orderId": order, "amount": amount}
        assert self._post("payment", "/api/v1/payments/confirm", confirm).status_code == 200
        self.ends(order, "COMPLETED")

    def end(self, order: str, how: str) -> None:
        """Cancel or return an order, and wait until all is given back."""
        assert self._post("order", f"/api/v1/orders/{order}/cancel/{how}", {}).status_code == 200
        assert self.ends(order, "CANCELLED")["items"][0]["stock"] == "RELEASED"

    def ends(self, order: str, status: str) -> Any:
        end = time.monotonic() + LIMIT_S
        while True:
            shown = httpx.get(f"{self._urls['order']}/api/v1/orders/{order}", headers=self._customer).json()
            if shown["status"] == status and shown["items"][0]["stock"] != "RELEASE_REQUESTED":
                return shown
            assert time.monotonic() < end, shown
            time.sleep(0.1)

    def _post(self, service: str, path: str, body: Any) -> httpx.Response:
        return httpx.post(self._urls[service] + path, json=body, headers=self._customer, timeout=LIMIT_S)


@pytest.fixture
def system() -> Iterator[System]:
    """Ours beside their Stock."""
    extra = {FOREIGN: '["stock"]', "ORDERSAGA_TOPIC_PARTITIONS": "3", "ORDERSAGA_LOG_LEVEL": "error"}
    with System(services=["order", "payment", "delivery"], extra=extra) as running:
        yield running


def test_our_stock_takes_over_with_the_catalogue_as_the_page_says(system: System, tmp_path: Path) -> None:
    start, add, give_back = steps()
    product = str(uuid4())
    shop = Shop(system, product)
    with RunningPartner(tmp_path, system.stack, "stock", "right") as theirs:
        httpx.post(f"http://127.0.0.1:{theirs.port}/products", json={"productId": product, "quantity": 10})
        delivered, paid_later, cancelled = shop.reserved(2), shop.reserved(3), shop.reserved(1)
        shop.pay(delivered, 2)
        free = 10 - 2 - 3 - 1
    (tmp_path / "catalogue.jsonl").write_text(
        f'{{"productId": "{product}", "name": "키보드 \\"조용한\\"", "price": {PRICE}, "quantity": {free}}}\n'
    )
    shell = Shell(system, tmp_path, StackFolder(None).port("stock"), theirs.group)
    with ended(tmp_path):
        shell.type(start)
        shell.type(add)
        shell.type(add)

        def left() -> int:
            return int(httpx.get(f"{shell.url}/api/v1/products/{product}").json()["available"])

        assert left() == free
        system.environment[FOREIGN] = "[]"
        for name in ("order", "payment"):
            system.kill(name)
            system.start(name)
        new = shop.reserved(free)
        assert left() == 0 and shop.place(1).json()["reason"] == "OUT_OF_STOCK"
        assert shop.place(1, total=1).status_code == 400, "totals are checked against the prices"
        shop.pay(paid_later, 3)
        shop.pay(new, free)
        for order, pieces, how in ((cancelled, 1, "delivery-before"), (delivered, 2, "return")):
            before = left()
            shop.end(order, how)
            assert left() == before
            for _ in range(2):
                shell.type(give_back, order=order, product=product, pieces=str(pieces))
            assert left() == before + pieces
        verdict = _verified(system, tmp_path)
        told = rf"1 order was decided before our stock took over \(group:{theirs.group}\) at [0-9: -]+, and is judged without it"
        assert re.search(told, verdict.out), verdict
        asyncio.run(forget(system, new))
        newer = type_command(["verify", "--live", "0"], system.environment, tmp_path)
    named = set(re.findall(r"([0-9a-f-]{36}): Stock holds nothing, and the order has", newer.out))
    assert newer.code == 1 and named == {new}, newer


def _verified(system: System, folder: Path) -> Any:
    """What `verify` says once the refunds are through: between the gateway's answer and the commit its books are ahead of ours."""
    end = time.monotonic() + LIMIT_S
    while True:
        verdict = type_command(["verify", "--live", "0"], system.environment, folder)
        if verdict.code == 0:
            return verdict
        assert time.monotonic() < end, verdict


async def forget(system: System, order: str) -> None:
    """Our Stock loses its decision on an order."""
    db = await asyncpg.connect(system.settings.database_url("stock"))
    try:
        assert await db.execute("DELETE FROM reservation WHERE order_id = $1", UUID(order)) == "DELETE 1"
    finally:
        await db.close()


@contextlib.contextmanager
def ended(folder: Path) -> Iterator[None]:
    """Afterwards end what was started in the folder and left running: our Stock."""
    try:
        yield
    finally:
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if "serve" in each.cmdline() and each.cwd() == str(folder):
                    each.kill()
