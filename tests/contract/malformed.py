"""Records that are no messages: a corpus, `malformed.json`, and a generator that makes any number more from a seed.

Each case is for `delivery-start-topic` unless it names its topic. In the corpus a character of `value` is one byte; `again` repeats it.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from msgspec import Struct, msgpack

CORPUS = Path(__file__).with_name("malformed.json")
TOPIC = "delivery-start-topic"


class Malformed(Struct):
    """One record, and what its dead letter must say (a part of the reason; empty: anything a person can read)."""

    name: str
    value: bytes | None
    says: str = ""
    topic: str = TOPIC


def corpus() -> list[Malformed]:
    """The cases of the file."""
    cases = []
    for case in json.loads(CORPUS.read_text()):
        value = case["value"]
        if value is not None:
            value = (case.get("before", "") + value * case.get("again", 1) + case.get("after", "")).encode("latin-1")
        cases.append(Malformed(case["name"], value, case["says"], case.get("topic", TOPIC)))
    return cases


def generated(seed: int, count: int) -> Iterator[Malformed]:
    """Sound messages, each spoilt in one way that no reader could take for another message."""
    chance = random.Random(seed)
    for n in range(count):
        spoil = chance.choice(SPOILERS)
        yield Malformed(f"{n} {spoil.__name__}", spoil(_sound(chance), chance))


def _sound(chance: random.Random) -> dict[str, Any]:
    ids = [str(UUID(int=chance.getrandbits(128), version=4)) for _ in range(2)]
    return {"orderId": ids[0], "deliveryId": ids[1], "status": chance.choice(["STARTED", "FAILED"])}


def _json(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def truncated(message: dict[str, Any], chance: random.Random) -> bytes:
    value = _json(message)
    return value[: chance.randrange(1, len(value))]


def wrong_encoding(message: dict[str, Any], chance: random.Random) -> bytes:
    return _json(message).decode().encode(chance.choice(["utf-7", "cp037", "cp500"])).replace(b"{", b"+AHs-")


def bytes_that_are_no_text(message: dict[str, Any], chance: random.Random) -> bytes:
    value = json.dumps(message | {"status": "?"}).encode()
    return value.replace(b"?", chance.choice([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", "시작".encode("euc-kr")]))


def nested_deeply(message: dict[str, Any], chance: random.Random) -> bytes:
    opening = chance.choice([b"[", b'{"a":'])
    return _json(message)[:-1] + b', "more": ' + opening * chance.randrange(5_000, 50_000)


def huge(message: dict[str, Any], chance: random.Random) -> bytes:
    return _json(message | {chance.choice(["orderId", "status"]): "x" * chance.randrange(100_000, 900_000)})


def with_nul(message: dict[str, Any], chance: random.Random) -> bytes:
    value = _json(message)
    at = chance.randrange(len(value) + 1)
    return value[:at] + b"\0" * chance.randrange(1, 10) + value[at:]


def no_number(message: dict[str, Any], chance: random.Random) -> bytes:
    wrong = chance.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"0x10", b"01", b"+1", b"1_000"])
    return _json(message)[:-1] + b', "deliveryId": ' + wrong + b"}"


def key_twice(message: dict[str, Any], chance: random.Random) -> bytes:
    return _json(message)[:-1] + b', "orderId": "%s"}' % _sound(chance)["orderId"].encode()


def wrong_type(message: dict[str, Any], chance: random.Random) -> bytes:
    field = chance.choice(["orderId", "status"])
    return _json(
        message | {field: chance.choice([None, True, 0, -1, 2**31, 10**400, 1.5, [], {}, [message["orderId"]]])}
    )


def missing_field(message: dict[str, Any], chance: random.Random) -> bytes:
    del message[chance.choice(["orderId", "status"])]
    return _json(message)


def unknown_status(message: dict[str, Any], chance: random.Random) -> bytes:
    return _json(message | {"status": chance.choice(["", "STARTED.", "0", "DELIVERED", "ORD0002", "성공", "\ud83d"])})


def no_id(message: dict[str, Any], chance: random.Random) -> bytes:
    return _json(message | {"orderId": chance.choice(["", "1", message["orderId"][:-1], message["orderId"] + "0"])})


def no_object(message: dict[str, Any], chance: random.Random) -> bytes:
    return json.dumps(chance.choice([None, True, 1, "text", [message], []])).encode()


def another_format(message: dict[str, Any], chance: random.Random) -> bytes:
    """MessagePack, an Avro record with its registry's prefix, Java's own serialization, or nothing but blanks."""
    java = b"\xac\xed\x00\x05sr\x00\x1acom.example.DeliveryStarted"
    return chance.choice([msgpack.encode(message), b"\x00\x00\x00\x00\x07\x48abc", java, b"", b" \n"])


SPOILERS: list[Callable[[dict[str, Any], random.Random], bytes]] = [
    truncated, wrong_encoding, bytes_that_are_no_text, nested_deeply, huge, with_nul, no_number, key_twice, wrong_type,
    missing_field, unknown_status, no_id, no_object, another_format,
]  # fmt: skip
