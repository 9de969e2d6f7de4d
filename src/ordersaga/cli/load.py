"""`load` places orders at a rate: a load generator for a system that pays at the sandbox."""

import asyncio
import contextlib
import math
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final
from uuid import uuid5

import msgspec
import typer
import uvloop

from ordersaga.cli.buyers import NAMESPACE, Buyers, told
from ordersaga.cli.options import err, fail, load_settings, out
from ordersaga.cli.shop import PRICE, NotServed, Shop
from ordersaga.operations.load_figures import IN_FLIGHT_MAX, RATE_MAX, SECONDS_MAX, Figures
from ordersaga.settings import SERVICES, Settings

PIECES: Final = 1_000_000_000
PATIENCE_S: Final = 60.0
PRODUCT: Final[dict[str, Any]] = {
    "productId": str(uuid5(NAMESPACE, "product")),
    "name": "Load test parcel / 부하 시험 상자",
    "price": PRICE,
    "quantity": PIECES,
}
"""Sold while orders are placed, and not in the shop otherwise."""


def load(
    rate: Annotated[float, typer.Option(min=0, max=RATE_MAX, help="orders a second")] = 20.0,
    seconds: Annotated[int, typer.Option(min=1, max=SECONDS_MAX, help="how long orders are placed")] = 60,
    in_flight: Annotated[
        int, typer.Option(min=1, max=IN_FLIGHT_MAX, help="orders that have not ended, at most; the next are held back")
    ] = IN_FLIGHT_MAX,
    json: Annotated[bool, typer.Option("--json", help="one JSON object a second")] = False,
    steered: Annotated[
        bool,
        typer.Option(help="read a rate from each line of the standard input; its end ends the placing of orders"),
    ] = False,
) -> None:
    """Place orders at a rate, as customers who pay at the sandbox, and print every second how the system keeps up.

    Each order takes the whole way: placed and paid over HTTP, and followed until it is COMPLETED or has failed. The services are those that the
    settings name; while `ordersaga up` runs in this folder, its own. The product that is bought is in the shop only meanwhile. Ctrl-C ends
    the placing of orders, and those in flight have 10 s to end; Ctrl-C again does not wait for them. Exit code 1: an order failed.
    """
    settings = load_settings()
    if settings.foreign_partners:
        raise fail("orders are placed only where all four services are ours: see ORDERSAGA_FOREIGN_PARTNERS")
    try:
        last = uvloop.run(_load(settings, rate, seconds, in_flight, _json if json else _line, steered))
    except NotServed as error:
        raise fail(f"no order can be placed: {error}; `ordersaga up` runs a system to place orders in", 1) from error
    if last.failed:
        raise typer.Exit(1)


async def _load(
    settings: Settings, rate: float, seconds: int, in_flight: int, say: Callable[[Figures], None], steered: bool
) -> Figures:
    urls: dict[str, str] = {name: str(getattr(settings, f"{name}_url")).rstrip("/") for name in SERVICES}
    urls["sandbox"] = settings.gateway_url.rstrip("/")
    async with Shop(urls, patience_s=PATIENCE_S) as shop:
        await shop.find_sandbox()
        await shop.offer(PRODUCT)
        buyers = Buyers(shop, rate, in_flight)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, buyers.stop)
        loop.add_signal_handler(signal.SIGTERM, buyers.stop, True)
        steering = asyncio.create_task(_steer(buyers)) if steered else None
        try:
            await told(buyers, say, buyers.run(seconds))
        finally:
            if steering:
                steering.cancel()
            with contextlib.suppress(NotServed):
                await shop.withdraw()
        return buyers.figures()


async def _steer(buyers: Buyers) -> None:
    """Take the rates that are written to the standard input. Its end, also when its writer is killed, ends the placing of orders."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        try:
            rate = float(line)
            buyers.rate = min(RATE_MAX, max(0.0, rate)) if math.isfinite(rate) else buyers.rate
        except ValueError:
            err.print("a line of the standard input is no number of orders a second, and is not used")
    buyers.stop()


def _json(figures: Figures) -> None:
    print(msgspec.json.encode(figures).decode(), flush=True)


def _line(figures: Figures) -> None:
    times = f"p50 {figures.p50_ms:.0f} ms, p99 {figures.p99_ms:.0f} ms" if figures.p50_ms and figures.p99_ms else ""
    out.print(
        f"{figures.placed:5.1f} placed/s  {figures.completed_a_second:5.1f} completed/s  {figures.in_flight:4} in flight  "
        f"{figures.completed:6} completed  {figures.failed:4} failed  {figures.held_back:5} held back  {times}",
        soft_wrap=True,
    )
    for why, count in figures.failures.items():
        out.print(f"[dim]        {count} failed: {why}[/]", soft_wrap=True)
