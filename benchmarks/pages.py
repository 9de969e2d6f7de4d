"""How long the shop's and the console's pages take, one at a time on an idle machine, while many orders are stored.

`python -m benchmarks.pages --stored 100000`. Puts orders of the past into the databases, and dead letters, parked records, jobs and acts into
Delivery's; then asks for each page again and again. Each page's time is compared with that of a page that asks no service and no database, taken
in turns with it, so that a machine that is busy otherwise spoils both alike. Prints a table, and writes `build/bench/pages.json`. Exit code 1: a
page's median is `LIMIT_MS` or more. Starts a system of its own.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import aiohttp
import asyncpg
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.history import History
from benchmarks.measure import machine, reading
from ordersaga.devstack.system import System
from ordersaga.settings import Settings
from ordersaga.web.accounts import User
from ordersaga.web.console.reading import FRESH_S
from ordersaga.web.console.staff import STAFF
from ordersaga.web.desk import OPERATOR as OPERATOR_COOKIE
from ordersaga.web.desk import SESSION
from ordersaga.web.shop import seeds
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Session

BUILD = Path("build/bench")
STORED = 100_000
ASKED = 20
ASKED_SLOWLY = 5
WARM = 3
LIMIT_MS = 50.0
IDLE_S = 5.0
FLOOR = "/sign-in"
SETTLED_S = 3.0
TOPIC = "delivery-request-topic"
TROUBLES = (
    # 20,000 dead letters, of which 300 are open; each in hundred of another cause.
    f"""INSERT INTO dead_letter (id, status, topic, partition, record_offset, order_key, value, header_names, header_values, timestamp_ms, cause, reason,
        attempts, at, decided_at)
    SELECT gen_random_uuid(), CASE WHEN n % 67 = 0 THEN 'OPEN' ELSE 'RESOLVED' END, '{TOPIC}', n % 12, n, gen_random_uuid(),
        convert_to('{{"orderId":"' || gen_random_uuid() || '"}}', 'UTF8'), '{{}}', '{{}}', 0,
        CASE WHEN n % 100 = 0 THEN 'Undecodable' ELSE 'CarrierAway' END, 'the carrier is away', 5, now() - n * interval '1 min', now()
    FROM generate_series(1, 20000) AS n""",
    # 2,000 parked records in 1,000 queues, none of which is due.
    f"""INSERT INTO parked (topic, partition, record_offset, order_key, value, header_names, header_values, timestamp_ms, attempts, due_at, cause, reason,
        parked_at)
    SELECT '{TOPIC}', n % 12, n, md5((n / 2)::text)::uuid, convert_to('{{}}', 'UTF8'), '{{}}', '{{}}', 0, 1,
        CASE WHEN n % 2 = 0 THEN now() + interval '1 day' END, 'CarrierAway', 'the carrier is away', now()
    FROM generate_series(1, 2000) AS n""",
    """INSERT INTO operator_act (at, who, what, target, why, "before", "after")
    SELECT now() - n * interval '1 min', 'somebody', 'replay', md5(n::text), 'a benchmark', '{}', '{}' FROM generate_series(1, 20000) AS n""",
    """INSERT INTO operator_job (id, act, dry_run, who, why, letters_per_s, failures_max, wait_s, created_at, ended_at)
    SELECT md5(n::text)::uuid, 'replay', false, 'somebody', 'a benchmark', 10, 10, 10, now() - n * interval '1 min', now() FROM generate_series(1, 200) AS n""",
    """INSERT INTO operator_job_item (job_id, number, letter_id, begun_at, result)
    SELECT md5(n::text)::uuid, k, gen_random_uuid(), now(), 'resolved' FROM generate_series(1, 200) AS n, generate_series(1, 100) AS k""",
    "VACUUM ANALYZE",
)


class Timed(Struct):
    """A page's figures. Milliseconds; CPU of all processes together, without what they use when idle; statements of all databases."""

    median_ms: float
    p99_ms: float
    floor_ms: float
    cpu_ms: float
    statements: float

    @property
    def ratio(self) -> float:
        """How many times the floor's time the page takes."""
        return self.median_ms / self.floor_ms


class Pages:
    """Asks for pages, as a customer of the past and an operator."""

    def __init__(self, system: System, http: aiohttp.ClientSession) -> None:
        self._system = system
        self._http = http
        secret = system.settings.web_session_secret
        assert secret is not None
        signer = Signer(secret.get_secret_value().encode())
        self.customer = UUID(hashlib.md5(b"customer7").hexdigest())
        self._cookies = {
            SESSION: signer.sign(SESSION, Session(user=User(self.customer))),
            OPERATOR_COOKIE: signer.sign(OPERATOR_COOKIE, STAFF["operator"]),
        }
        self._idle: Mapping[str, float] = {}

    async def paths(self) -> list[tuple[str, str]]:
        """Each page's name and path."""
        operator = {"User-Id": str(UUID(int=9)), "User-Roles": "OPERATOR"}
        order = (await self._json("order", "/api/v1/orders", {"User-Id": str(self.customer)}))["items"][0]["orderId"]
        face = "/api/v1/operations"
        letter = (await self._json("delivery", f"{face}/dead-letters", operator))["items"][0]["id"]
        parked = (await self._json("delivery", f"{face}/parked", operator))["items"][0]
        job = (await self._json("delivery", f"{face}/jobs", operator))["items"][0]["id"]
        product = seeds.SEEDS[0].product_id
        held = f"{parked['topic']}/{parked['partition']}/{parked['offset']}"
        return [
            ("shop", "/"),
            ("shop, search", "/?q=cup"),
            ("product", f"/products/{product}"),
            ("cart", "/cart"),
            ("my orders", "/orders"),
            ("my order", f"/orders/{order}"),
            ("console", "/console"),
            ("console, refreshed", "/console/now"),
            ("orders", "/console/orders"),
            ("orders, by state", "/console/orders?status=FAILED"),
            ("orders, by customer", f"/console/orders?customer={self.customer}"),
            ("order", f"/console/orders/{order}"),
            ("letters", "/console/letters"),
            ("letters, by cause", f"/console/letters?service=delivery&topic={TOPIC}&cause=Undecodable"),
            ("letter", f"/console/letters/delivery/{letter}"),
            ("letter, edit", f"/console/letters/delivery/{letter}/edit"),
            ("parked", "/console/parked"),
            ("parked record", f"/console/parked/delivery/{held}"),
            ("jobs", "/console/jobs"),
            ("job", f"/console/jobs/delivery/{job}"),
            ("topics", "/console/topics"),
            ("charts", "/console/history?minutes=180"),
            ("trail", "/console/trail"),
            ("trail, by operator", "/console/trail?who=nobody"),
            ("faults", "/console/faults"),
        ]

    async def _json(self, service: str, path: str, headers: Mapping[str, str]) -> dict[str, list[dict[str, str]]]:
        async with self._http.get(self._system.urls[service] + path, headers=headers) as answer:
            answer.raise_for_status()
            found: dict[str, list[dict[str, str]]] = await answer.json()
            return found

    async def ask(self, path: str) -> float:
        """One page; how long it took, in milliseconds."""
        began = time.perf_counter()
        async with self._http.get(
            self._system.urls["web"] + path, cookies=self._cookies, allow_redirects=False
        ) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path} is answered {answer.status}")
        return (time.perf_counter() - began) * 1000

    async def rest(self) -> None:
        """Learn what the system uses while nobody asks."""
        before, began = reading(self._system), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        took = time.perf_counter() - began
        self._idle = {name: (value - before[name]) / took for name, value in reading(self._system).items()}

    async def timed(self, path: str) -> Timed:
        """A page's figures. One that shows all services reads them anew at most every `FRESH_S`: each time it is asked for, it must."""
        is_shared = path.startswith(("/console/now", "/console/faults")) or path == "/console"
        asked, pause_s = (ASKED_SLOWLY, FRESH_S + 0.1) if is_shared else (ASKED, 0.0)
        floors, took = [], []
        for _ in range(WARM):
            await self.ask(path)
        for _ in range(asked):
            await asyncio.sleep(pause_s)
            floors.append(await self.ask(FLOOR))
            took.append(await self.ask(path))
        before, began = reading(self._system), time.perf_counter()
        for _ in range(asked):
            await asyncio.sleep(pause_s)
            await self.ask(path)
        after, lasted_s = reading(self._system), time.perf_counter() - began
        used = {name: value - before[name] - self._idle[name] * lasted_s for name, value in after.items()}
        cpu_s = sum(value for name, value in used.items() if name.startswith("cpu_s_"))
        return Timed(
            statistics.median(took),
            sorted(took)[int(asked * 0.99)],
            statistics.median(floors),
            max(0.0, cpu_s / asked * 1000),
            max(0.0, used["statements"] / asked),
        )


async def trouble(settings: Settings) -> None:
    """Put letters, parked records, acts and jobs into Delivery's database."""
    db = await asyncpg.connect(settings.database_url("delivery"))
    for statement in TROUBLES:
        await db.execute(statement)
    await db.close()


async def run(system: System, stored: int) -> dict[str, Timed]:
    await seeds.seed(system.urls["stock"])
    await History(system.settings, [seeds.SEEDS[0].product_id]).add(stored, print)
    await trouble(system.settings)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        pages = Pages(system, http)
        await asyncio.sleep(SETTLED_S)
        await pages.rest()
        found = {}
        for name, path in await pages.paths():
            found[name] = timed = await pages.timed(path)
            print(
                f"{name:22} {timed.median_ms:6.1f} ms, {timed.cpu_ms:6.1f} ms of CPU, {timed.statements:5.1f} statements",
                flush=True,
            )
        return found


def table(found: Mapping[str, Timed]) -> Table:
    """The figures for people."""
    shown = Table("page", *COLUMNS, title="milliseconds a page")
    for name, each in found.items():
        late = each.median_ms >= LIMIT_MS
        shown.add_row(f"[red]{name}[/]" if late else name, *cells(each))
    return shown


COLUMNS: Sequence[str] = ("median", "99 %", "times the floor", "CPU", "statements")


def cells(each: Timed) -> Iterator[str]:
    """One row."""
    for value in (each.median_ms, each.p99_ms, each.ratio, each.cpu_ms, each.statements):
        yield f"{value:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", type=int, default=STORED, help="orders of the past")
    given = parser.parse_args()
    print(f"machine: {machine()}")
    with System(web=True, extra={"ORDERSAGA_LOG_LEVEL": "error"}) as system:
        found = asyncio.run(run(system, given.stored))
    Console().print(table(found))
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / "pages.json"
    figures = {
        name: {
            "median_ms": each.median_ms,
            "p99_ms": each.p99_ms,
            "ratio": each.ratio,
            "cpu_ms": each.cpu_ms,
            "statements": each.statements,
        }
        for name, each in found.items()
    }
    path.write_text(json.dumps({"machine": machine(), "stored": given.stored, "pages": figures}, indent=2))
    print(f"written: {path}")
    return int(any(each.median_ms >= LIMIT_MS for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
