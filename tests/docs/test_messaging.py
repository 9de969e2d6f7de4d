"""`ordersaga.messaging` by itself: the README's service runs as it is printed there, and the public names are the ones that are documented."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ordersaga import messaging
from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka.client import record_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "messaging.md"
LIMIT_S = 60.0
PUBLIC = [
    "Batch",
    "CannotStart",
    "Connection",
    "Gather",
    "Group",
    "Handler",
    "Incoming",
    "Message",
    "NotBegun",
    "OutcomeUnknown",
    "Outgoing",
    "PostgresUrl",
    "Record",
    "Runtime",
    "Settings",
    "Topic",
    "Write",
    "consumes",
    "create_missing_topics",
    "declare",
    "insert_new",
    "migrate",
    "storable",
]


class Greeter:
    """The README's service as a process, started as a reader starts it."""

    def __init__(self, stack: DevStack, folder: Path) -> None:
        self.url = stack.database_url("greeter")
        self.kafka = {"bootstrap.servers": stack.bootstrap_servers}
        self.folder = folder
        (folder / "migrations").mkdir()
        (folder / "migrations" / "0100.visit.sql").write_text(code("sql"))
        (folder / "greeter.py").write_text(code("python"))
        self.log = (folder / "greeter.log").open("w")
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | {
            "ORDERSAGA_GREETER_DATABASE_URL": self.url,
            "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": self.kafka["bootstrap.servers"],
        }
        command = [sys.executable, "greeter.py"]
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=self.log, stderr=subprocess.STDOUT)

    def said(self) -> str:
        return (self.folder / "greeter.log").read_text()

    def wait_for_its_topics(self) -> None:
        end = time.monotonic() + LIMIT_S
        consumer = Consumer(self.kafka | {"group.id": uuid4().hex})
        while "greetings" not in consumer.list_topics(timeout=10).topics:
            assert self.process.poll() is None and time.monotonic() < end, self.said()
            time.sleep(0.2)
        consumer.close()

    def visit(self, visitor_id: UUID, name: str) -> None:
        """Send a record as another team's service would: plain JSON."""
        producer = Producer(self.kafka)
        producer.produce("visits", msgspec.json.encode({"visitorId": visitor_id, "name": name}), str(visitor_id))
        assert producer.flush(LIMIT_S) == 0

    async def visits(self, expected: dict[UUID, int]) -> dict[UUID, int]:
        """How often each visitor was counted, once that is as expected or the wait is over."""
        end = time.monotonic() + LIMIT_S
        db = await asyncpg.connect(self.url)
        try:
            while True:
                counted = {row["visitor_id"]: row["visits"] for row in await db.fetch("SELECT * FROM visit")}
                if counted == expected or time.monotonic() > end:
                    return counted
                await asyncio.sleep(0.2)
        finally:
            await db.close()

    def greetings(self, count: int) -> list[dict[str, Any]]:
        """The first `count` messages of the output topic. A repeat, which a kill may cause, has the `message-id` of the first."""
        consumer = Consumer(self.kafka | {"group.id": uuid4().hex})
        partitions = consumer.list_topics("greetings", timeout=10).topics["greetings"].partitions
        consumer.assign([TopicPartition("greetings", partition, 0) for partition in partitions])
        found: dict[bytes, dict[str, Any]] = {}
        end = time.monotonic() + LIMIT_S
        while len(found) < count and time.monotonic() < end:
            record = consumer.poll(0.2)
            if record is not None and record.error() is None:
                found[record_of(record).header("message-id") or b""] = msgspec.json.decode(record.value() or b"")
        consumer.close()
        return list(found.values())


def code(language: str) -> str:
    """The README's one block in a language."""
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def greeter(stack: DevStack, tmp_path: Path) -> Iterator[Greeter]:
    stack.create_databases(["greeter"])
    one = Greeter(stack, tmp_path)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()
        one.log.close()


async def test_the_readmes_service_counts_each_visit_once_also_when_it_is_killed(greeter: Greeter) -> None:
    hana, minsu = uuid4(), uuid4()
    await asyncio.to_thread(greeter.wait_for_its_topics)
    for visitor_id, name in [(hana, "Hana"), (minsu, "Minsu"), (hana, "Hana")]:
        await asyncio.to_thread(greeter.visit, visitor_id, name)
    assert len(await asyncio.to_thread(greeter.greetings, 3)) == 3, greeter.said()
    greeter.process.kill()
    greeter.process.wait()
    await asyncio.to_thread(greeter.visit, hana, "Hana")
    greeter.process = greeter.start()
    assert await greeter.visits({hana: 3, minsu: 1}) == {hana: 3, minsu: 1}, greeter.said()
    greetings = await asyncio.to_thread(greeter.greetings, 4)
    texts = [(str(hana), "Hello, Hana")] * 3 + [(str(minsu), "Hello, Minsu")]
    assert sorted((each["visitorId"], each["text"]) for each in greetings) == sorted(texts)
    greeter.process.terminate()
    assert greeter.process.wait(LIMIT_S) == 0, greeter.said()


def test_the_readmes_service_is_short() -> None:
    assert len(code("python").splitlines()) < 40


def test_the_public_names_are_these() -> None:
    assert messaging.__all__ == PUBLIC
    assert all(getattr(messaging, name) is not None for name in PUBLIC)
    with pytest.raises(AttributeError, match="no_such_name"):
        messaging.no_such_name  # noqa: B018


def test_each_public_name_is_explained_on_its_page() -> None:
    explained = re.findall(r"^\| `([A-Za-z_]+)", PAGE.read_text(), re.MULTILINE)
    assert sorted(set(explained)) == PUBLIC


@pytest.mark.processes
def test_a_name_does_not_load_what_it_does_not_need() -> None:
    said = "import sys; from ordersaga.messaging import CannotStart, Message; print('confluent_kafka' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
