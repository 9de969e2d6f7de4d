"""`demo` runs the whole system once, as a customer would use it, and audits the result."""

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.table import Table

from ordersaga.audit import Finding, verify
from ordersaga.cli.options import err, fail, out
from ordersaga.cli.shop import CARD_DECLINED, Outcome, Scenario, Shop
from ordersaga.cli.verify import print_findings
from ordersaga.contracts.codec import decode
from ordersaga.contracts.messages import Message
from ordersaga.contracts.topics import BY_NAME, GUIDE_TOPICS, key_of
from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.system import System
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import Tap

ROUNDS_DEFAULT: Final = 5
SETTLE_S: Final = 20.0

SCENARIOS: Final = (
    Scenario("succeeds", ("COMPLETED", None)),
    Scenario("out of stock", ("FAILED", "OUT_OF_STOCK"), quantity=20_000),
    Scenario("card declined", ("FAILED", "PAYMENT_DECLINED"), card=CARD_DECLINED),
    Scenario("undeliverable zipcode", ("FAILED", "DELIVERY_FAILED"), zipcode="63000"),
)
STEPS: Final = {
    "order-created": "2  order -> stock: take the products",
    "stock-response-topic": "3  stock -> order: ",
    "payment-success-topic": "8  payment -> order: ",
    "delivery-request-topic": "9  order -> delivery: deliver it",
    "delivery-start-topic": "10 delivery -> order: ",
    "order-completed-topic": "11 order -> client: completed",
}


def demo(
    rounds: Annotated[int, typer.Option(min=5, max=1000, help="orders of each of the four kinds")] = ROUNDS_DEFAULT,
    data: Annotated[Path | None, typer.Option(help="keep the data here; default: thrown away")] = None,
) -> None:
    """Start everything on free ports, place orders that succeed and fail in each way, show the guide's eleven steps, audit, end everything.

    Exit code 0 only if every order ended as expected and the audit finds nothing.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        with System(
            data, extra={"ORDERSAGA_TRUST_GATEWAY_HEADERS": "true"}, say=lambda step: err.print(f"[dim]{step} ...[/]")
        ) as system:
            sound = asyncio.run(_run(system, rounds))
    except DevStackError as error:
        raise fail(str(error), 1) from error
    if not sound:
        raise fail("an order did not end as expected, or the audit found something; see above", 1)
    out.print("[bold green]all is as it must be[/]")


async def _run(system: System, rounds: int) -> bool:
    steps = Steps()
    tap = Tap(system.settings, [topic.name for topic in GUIDE_TOPICS])
    watching = asyncio.create_task(_watch(tap, steps))
    async with Shop(system.urls, lambda name: out.print(f"\n[bold]{name}[/]"), steps.say) as shop:
        await shop.open()
        outcomes = [await shop.buy(scenario, narrate=True) for scenario in SCENARIOS]
        out.print(f"\n{rounds - 1} more of each kind, all at once ...")
        outcomes += await asyncio.gather(*(shop.buy(scenario) for scenario in SCENARIOS for _ in range(rounds - 1)))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    tap.close()
    as_expected = _print_outcomes(outcomes)
    findings = await _settled(system)
    print_findings(findings)
    return as_expected and all(finding.holds for finding in findings)


class Steps:
    """Prints the guide's steps of the narrated orders, with the time since each was placed."""

    def __init__(self) -> None:
        self._began: dict[UUID, float] = {}

    def say(self, order_id: UUID, text: str) -> None:
        began = self._began.setdefault(order_id, time.time())
        out.print(f"  {(time.time() - began) * 1000:7.1f} ms  {text}")

    def record(self, record: Record) -> None:
        message = decode(record.topic, record.value)
        if key_of(message) in self._began:
            self.say(
                key_of(message), f"step {STEPS[record.topic]}{_said(record.topic, message)}  [dim]{record.topic}[/]"
            )


def _said(topic: str, message: Message) -> str:
    if topic == "order-created" or BY_NAME[topic].producer == "order":
        return ""
    status = str(getattr(message, "status", ""))
    return (
        f"[green]{status}[/]" if status != "FAILED" else f"[red]{status}[/] {getattr(message, 'message', None) or ''}"
    )


async def _watch(tap: Tap, steps: Steps) -> None:
    while True:
        for record in await tap.fetch(1000, 0.05):
            steps.record(record)


def _print_outcomes(outcomes: list[Outcome]) -> bool:
    table = Table("kind of order", "placed", "ended as", "as expected", "from placing to the end, ms (median)")
    sound = True
    for scenario in SCENARIOS:
        mine = [outcome for outcome in outcomes if outcome.scenario is scenario]
        ends = Counter(" / ".join(filter(None, outcome.end)) for outcome in mine)
        right = sum(outcome.end == scenario.expected for outcome in mine)
        sound = sound and right == len(mine)
        median_ms = sorted(outcome.took_ms for outcome in mine)[len(mine) // 2]
        shown = f"[green]{right}[/]" if right == len(mine) else f"[red]{right} of {len(mine)}[/]"
        table.add_row(scenario.name, str(len(mine)), ", ".join(ends), shown, f"{median_ms:.0f}")
    out.print(table)
    return sound


async def _settled(system: System) -> list[Finding]:
    """The audit's findings, once compensations have had time to end."""
    end = time.monotonic() + SETTLE_S
    while True:
        findings = await verify(system.settings)
        if all(finding.holds for finding in findings) or time.monotonic() > end:
            return findings
        await asyncio.sleep(0.3)
