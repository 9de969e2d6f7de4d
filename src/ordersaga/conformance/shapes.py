"""The shapes in which a partner's stack may write the same message. A right service understands every one of them."""

import json
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from ordersaga.conformance.cases import Case, Play
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.form import ID_FIELDS
from ordersaga.conformance.scene import OWN_KEY, Headers, Scene
from ordersaga.conformance.verdicts import Broken
from ordersaga.conformance.wire import Json, compact
from ordersaga.contracts.headers import TYPE_ID

LONG: Final = "서울특별시 중구 세종대로 110 " * 12
KOREAN: Final = '김하나 🚚 "따옴표" \\ / \' \t é 漢字'
PADDING_BYTES: Final = 900_000

JAVA: Final = "the Java services"


class Shape(Struct, frozen=True):
    """One way to write a message. `change` may give None: the exchange has nothing to which the shape applies."""

    name: str
    promise: str
    change: Callable[[Json, Exchange], Json | None] = lambda message, _: message
    write: Callable[[Json], bytes] = compact
    key: bytes | None = OWN_KEY
    headers: Headers = ()
    bare: bool = False
    """Without the type header that this service seems to need."""
    commit: bool | None = None


def upper(part: Any) -> Any:
    """The message with its UUIDs in upper case. A payment key and a refund's id are texts and stay."""
    if isinstance(part, dict):
        return {name: value.upper() if name in ID_FIELDS else upper(value) for name, value in part.items()}
    return [upper(each) for each in part] if isinstance(part, list) else part


def _sorted(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _sorted(part[name]) for name in sorted(part)}
    return [_sorted(each) for each in part] if isinstance(part, list) else part


def _reversed(message: Json, _: Exchange) -> Json:
    return dict(reversed(message.items()))


def _absent(message: Json, exchange: Exchange) -> Json | None:
    return (
        {name: value for name, value in message.items() if name not in exchange.optional} if exchange.optional else None
    )


def _null(message: Json, exchange: Exchange) -> Json | None:
    return message | dict.fromkeys(exchange.optional) if exchange.optional else None


def _texts(text: str) -> Callable[[Json, Exchange], Json | None]:
    def change(message: Json, exchange: Exchange) -> Json | None:
        return message | dict.fromkeys(exchange.texts, text) if exchange.texts else None

    return change


def _more(**fields: Any) -> Callable[[Json, Exchange], Json | None]:
    return lambda message, _: message | fields


def _pretty(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=False, indent=2).encode() + b"\r\n"


def _escaped(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=True).replace("/", "\\/").encode()


def _padded(message: Json) -> bytes:
    return compact(message)[:-1] + b" " * PADDING_BYTES + b"}"


SHAPES: Final = (
    Shape(
        "without a record key",
        f"wire facts: some of {JAVA} write no key; the order id is taken from the message",
        key=None,
    ),
    Shape(
        "with another record key",
        "wire facts: the order id is taken from the message, never from the key",
        key=b"another-key",
    ),
    Shape(
        "with a Java type header",
        f"wire facts: {JAVA} add {TYPE_ID} by default, with a class that the reader does not have; readers ignore it",
        headers=((TYPE_ID, b"com.example.somewhere.UnknownMessage"),),
    ),
    Shape(
        "without a type header",
        f"wire facts: readers have a default type for each topic and need no {TYPE_ID}",
        bare=True,
    ),
    Shape(
        "with headers of a stranger",
        "headers that a reader does not know are ignored, also binary ones, null ones and repeated ones",
        headers=(
            ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("b3", b"\x00\xff\xfe"),
            ("empty", b""),
            ("null", None),
            ("twice", b"1"),
            ("twice", b"2"),
            ("contentType", b"application/json"),
        ),
    ),
    Shape("with sorted fields", "field order has no meaning in JSON: Jackson 3 sorts by name", lambda m, _: _sorted(m)),
    Shape("with reversed fields", "field order has no meaning in JSON", _reversed),
    Shape(
        "with unknown fields",
        "wire facts: unknown JSON fields are ignored",
        _more(
            traceId="x",
            retries=3,
            nothing=None,
            more={"orderId": "00000000-0000-4000-8000-000000000000"},
            list=[1, "a"],
        ),
    ),
    Shape("with blanks and line ends", "JSON may have blanks between its parts", write=_pretty),
    Shape("with escapes", "JSON may write any character as an escape", write=_escaped),
    Shape(
        "with upper-case UUIDs",
        "a UUID is the same in upper and lower case (RFC 9562)",
        lambda message, _: upper(message),
    ),
    Shape("without optional fields", "wire facts: an optional field may be absent", _absent),
    Shape("with null in optional fields", "wire facts: absent optionals are written as null", _null),
    Shape("with Korean, emoji and quotes", "texts are any Unicode, in UTF-8", _texts(KOREAN)),
    Shape("with long texts", "200 characters are an ordinary length of an address or a memo", _texts(LONG[:200])),
    Shape(
        "of nearly a megabyte",
        "a record up to Kafka's default limit of 1 MiB is read",
        write=_padded,
    ),
    Shape("in a committed transaction", "guide, caution 4: a producer may write in Kafka transactions", commit=True),
)


def shape_cases(exchange: Exchange) -> list[Case]:
    """A case for each shape that applies to the exchange, and one for each partition of its topic."""
    return [
        exchange.case(
            f"{exchange.noun} in each partition",
            "records of different orders are spread over all partitions of a topic, and a service reads every one",
            "shapes",
            play=_in_each_partition(exchange),
        ),
        *(_shaped(exchange, shape) for shape in SHAPES if _applies(exchange, shape)),
    ]


def _shaped(exchange: Exchange, shape: Shape) -> Case:
    tags = ("shapes", *(("transactions",) if shape.commit is not None else ()))
    name = f"{exchange.noun} {shape.name}"
    return exchange.case(name, shape.promise, *tags, play=_play(exchange, shape), phase="shape")


def _in_each_partition(exchange: Exchange) -> Play:
    async def play(scene: Scene) -> None:
        messages = [await exchange.prepare(scene) for _ in range(scene.stage.partitions.get(exchange.request, 1))]
        for partition, message in enumerate(messages):
            await scene.send(exchange.request, message, partition=partition)
        for partition, message in enumerate(messages):
            try:
                await exchange.answered(scene, message)
            except Broken as error:
                raise Broken(f"the request in partition {partition} of {exchange.request}: {error}") from error

    return play


def _applies(exchange: Exchange, shape: Shape) -> bool:
    return shape.change({}, exchange) is not None


def _play(exchange: Exchange, shape: Shape) -> Play:
    async def play(scene: Scene) -> None:
        message = await exchange.prepare(scene)
        changed = shape.change(message, exchange) or message
        key = str(message["orderId"]).encode() if shape.key == OWN_KEY else shape.key
        named = [name for name, _ in shape.headers]
        usual = [] if shape.bare else [each for each in scene.usual_headers(exchange.request) if each[0] not in named]
        await scene.send(
            exchange.request,
            shape.write(changed),
            key=key,
            headers=[*usual, *shape.headers],
            commit=shape.commit,
            note=shape.name,
        )
        await exchange.answered(scene, message)

    return play
