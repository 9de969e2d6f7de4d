"""Cases of every exchange: topic, field names, types, status word, ids and key of the answer."""

import json
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec

from ordersaga.conformance.cases import Case, Play
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.verdicts import Broken
from ordersaga.conformance.wire import Heard, Json, moment, shown
from ordersaga.contracts.topics import BY_NAME

Judge = Callable[[Heard], None]

CLOCK_S_MAX: Final = 3_600.0
"""How far the clocks of two machines may be apart, and a time that was copied from the request."""
ID_FIELDS: Final = ("orderId", "productId", "deliveryId", "customerId")
OF_THE_GUIDE: Final = frozenset(
    {
        *("deliveryId", "paymentKey", "amount", "orderName"),
        *("address", "addressDetail", "zipcode", "phone", "name", "deliveryMemo"),
    }
)
"""Fields that a right answer to a request has, though we also read answers without them."""


def form_cases(exchange: Exchange) -> list[Case]:
    """Each fault of form has its own case. A field that is missing fails the one about the fields alone."""
    noun, topic = exchange.noun, BY_NAME[exchange.answer]
    message = topic.message.__name__
    fields = msgspec.structs.fields(topic.message)
    listed = ", ".join(each.encode_name for each in fields)
    found = [
        (
            "is on its topic",
            f"guide, caution 2: topic names are exactly these; here {exchange.answer}",
            _on_topic(exchange),
        ),
        (
            "has the guide's fields",
            f"guide, messages: {message} has {listed}, in camelCase, with these types",
            _named(message, fields),
        ),
        ("has ids in lower case", "wire facts: UUIDs are lower-case strings of 36 characters", _identified),
        (
            "has the time of its sending",
            "Kafka drops records by their timestamp, in milliseconds since 1970 in UTC, so one with a wrong time is lost or kept too long",
            _timed,
        ),
        ("is keyed by its order", "wire facts: the record key is the order id as text, or there is none", _keyed),
    ]
    if words := _words(fields):
        found.append(
            ("has the guide's status word", f"guide, messages: status is {' or '.join(words)}", _worded(words))
        )
    return [
        exchange.case(f"the answer to {noun} {name}", promise, "form", play=_play(exchange, judge))
        for name, promise, judge in found
    ]


def _play(exchange: Exchange, judge: Judge) -> Play:
    async def play(scene: Scene) -> None:
        asked = await exchange.prepare(scene)
        await exchange.ask(scene, asked)
        for answer in await exchange.answered(scene, asked):
            judge(answer)

    return play


def _on_topic(exchange: Exchange) -> Judge:
    def judge(answer: Heard) -> None:
        must(answer.topic == exchange.answer, f"the answer came on {answer.topic} instead of {exchange.answer}")

    return judge


def _named(message: str, fields: tuple[Any, ...]) -> Judge:
    wanted = [each.encode_name for each in fields if each.required or each.encode_name in OF_THE_GUIDE]

    def judge(answer: Heard) -> None:
        there = answer.json
        if there is None:
            raise Broken(f"the value is no JSON object: {shown(answer.record.value)}")
        missing = [name for name in wanted if name not in there]
        must(not missing, f"{message} lacks {', '.join(missing)}; its fields are {', '.join(there)}")
        wrong = _wrong_types(there, fields)
        must(not wrong, f"{message} has another type than the guide's: {'; '.join(wrong.values())}")

    return judge


def _wrong_types(there: Json, fields: tuple[Any, ...]) -> dict[str, str]:
    """By field, what is said of those of another type. The spelling of ids and the words of a status have cases of their own."""
    wrong = {}
    for each in fields:
        value = there.get(each.encode_name)
        if value is None or each.name == "status" or (each.encode_name in ID_FIELDS and isinstance(value, str)):
            continue
        try:
            msgspec.convert(value, each.type)
        except msgspec.ValidationError as error:
            wrong[each.encode_name] = f"{each.encode_name} is {json.dumps(value)[:80]} ({error})"
    return wrong


def refusal_has_the_guides_types(refusal: Heard, success: Heard, topic: str) -> None:
    """Raise `Broken` if a field of a refusal is neither null, nor left out, nor what the guide says, or if its key is another one. What is wrong
    in a success too has a case of its own."""
    fields = msgspec.structs.fields(BY_NAME[topic].message)
    known = _strange(success, fields)
    wrong = {name: said for name, said in _strange(refusal, fields).items() if name not in known}
    must(not wrong, f"the answer has another type than the guide's: {'; '.join(wrong.values())}")
    if _is_keyed(success):
        _keyed(refusal)


def _strange(answer: Heard, fields: tuple[Any, ...]) -> dict[str, str]:
    """By field, what is wrong with its value."""
    wrong = _wrong_types(answer.json or {}, fields)
    ids = [(name, answer.field(name)) for name in ID_FIELDS]
    return wrong | {name: f"{name} is {id!r}" for name, id in ids if isinstance(id, str) and not _is_plain_uuid(id)}


def _words(fields: tuple[Any, ...]) -> list[str]:
    """The words of the field `status`, as its JSON schema has them."""
    kind = next((each.type for each in fields if each.name == "status"), None)
    words: list[str] = msgspec.json.schema(kind).get("enum", []) if kind is not None else []
    return words


def _worded(words: list[str]) -> Judge:
    def judge(answer: Heard) -> None:
        said = answer.field("status")
        must(said is None or said in words, f"the status is {said!r}, not {' or '.join(words)}")

    return judge


def _identified(answer: Heard) -> None:
    for name in ID_FIELDS:
        value = answer.field(name)
        if value is not None:
            must(
                not isinstance(value, str) or _is_plain_uuid(value),
                f"{name} is {value!r}, not a UUID of 36 lower-case characters",
            )


def _is_plain_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _is_keyed(answer: Heard) -> bool:
    """Whether the record key is the order id, or there is none."""
    key, id = answer.record.key, answer.field("orderId")
    return key is None or id is None or key.decode(errors="replace").lower() == str(id).lower()


def _keyed(answer: Heard) -> None:
    key, own = answer.record.key, str(answer.field("orderId")).lower()
    quoted = key is not None and key.startswith(b'"')
    must(
        _is_keyed(answer),
        f"the record key is {shown(key)}, the order id {own}{'; a serializer for JSON wrote the key as a JSON text' if quoted else ''}",
    )


def _timed(answer: Heard) -> None:
    behind_s = answer.heard_at_s - answer.record.timestamp_ms / 1000
    must(
        abs(behind_s) < CLOCK_S_MAX,
        f"the record's timestamp is {answer.record.timestamp_ms}, {moment(answer.record.timestamp_ms)}, and it came at {moment(answer.heard_at_s * 1000)}",
    )
