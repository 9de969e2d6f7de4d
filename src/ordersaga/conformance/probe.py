"""Finds out within seconds whether a service can be judged: its topics are there, and it answers a first request with something readable."""

import json
from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from ordersaga.conformance.plan import Plan
from ordersaga.conformance.roles import Part
from ordersaga.conformance.scene import Manners, Scene, why_of
from ordersaga.conformance.verdicts import COMPENSATION, DEAD_LETTERS, Broken, NotOffered
from ordersaga.conformance.wire import Heard, shown
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.kafka import Access, Topics

PROBES: Final = 3
"""First requests, in different partitions: one may be stopped."""
SECOND_TRY_S: Final = 4.0
SCHEMA_ID_BYTES: Final = 5
JAVA_TYPE_ID: Final = "com.shop.{producer}.message.{message}"


class CannotJudge(Exception):
    """The service cannot be judged. The text says why, and what to do."""


async def look_for_topics(plan: Plan, note: Callable[[str], None]) -> Plan:
    """The plan, without compensation where Kafka has no topics for it. Raises `CannotJudge` if a topic of the guide is missing."""
    part = plan.part
    wanted = [*part.reads, *part.writes, *part.compensation]
    letters = [plan.offers.dead_letter_topic_of(topic) for topic in part.played]
    there = await Topics(plan.settings).access([*wanted, *part.compensation_answers, *part.played, *letters])
    missing = [name for name in (*part.reads, *part.writes) if name not in there]
    if missing:
        raise CannotJudge(
            f"Kafka at {plan.settings.kafka_bootstrap_servers} has no topic {', '.join(missing)}; "
            "`ordersaga topics create` makes every topic that is missing"
        )
    lacking = [name for name in part.compensation if name not in there]
    if lacking and COMPENSATION not in plan.offers.without:
        note(f"{COMPENSATION} is left out: there is no topic {', '.join(lacking)}")
        plan = replace(plan, offers=replace(plan.offers, without=plan.offers.without | {COMPENSATION}))
    if why := _forbidden(plan, there):
        raise CannotJudge(why)
    return plan


def _forbidden(plan: Plan, there: Mapping[str, Access]) -> str | None:
    """Which ACLs are missing for the topics that the kit writes and hears; None: none."""
    part, without = plan.part, plan.offers.without
    compensation = [] if COMPENSATION in without else part.compensation
    tables = [topic for topic in part.played if topic in there and BY_NAME[topic].table and there[topic].partitions]
    written = [*part.reads, *compensation, *tables]
    heard = [*part.writes, *(part.compensation_answers if compensation else [])]
    if DEAD_LETTERS not in without:
        heard += [plan.offers.dead_letter_topic_of(topic) for topic in written if topic not in tables]
    missing = [
        f"{operation} on {', '.join(closed)}"
        for operation, topics in (("Write", written), ("Read", heard))
        if (closed := [topic for topic in topics if topic in there and not there[topic].allows(operation.upper())])
    ]
    unseen = [topic for topic in (*written, *heard) if topic in there and not there[topic].partitions]
    if unseen:
        missing.append(f"Describe on {', '.join(unseen)} (which may also be missing: Kafka does not say)")
    if not missing:
        return None
    options = " and ".join(f"--without {tag}" for tag in (COMPENSATION, DEAD_LETTERS) if tag not in without)
    return (
        f"Kafka's ACLs do not allow {'; '.join(missing)}. The kit's user has to write the topics that {part.role} reads, and to read those "
        f"that it writes and those of its dead letters{f'; {options} need no topics of theirs' if options else ''}"
    )


async def probe(part: Part, make: Callable[[], Scene], manners: Manners, note: Callable[[str], None]) -> None:
    """Send first requests and learn the service's manners from the answers. Raises `CannotJudge` if nothing readable comes."""
    scene = make()
    try:
        await _introduce(part, scene, make, manners, note)
    except (Broken, NotOffered) as error:
        raise CannotJudge(str(error)) from error
    finally:
        await scene.end()


async def _introduce(
    part: Part, scene: Scene, make: Callable[[], Scene], manners: Manners, note: Callable[[str], None]
) -> None:
    if await _answers(part, scene, manners, note, scene.limits.answer_s):
        return
    topic = part.first.request
    if not _garbage(part, scene) and topic in part.played and topic not in manners.type_ids:
        known = BY_NAME[topic]
        manners.type_ids[topic] = JAVA_TYPE_ID.format(producer=known.producer, message=known.message.__name__)
        second = make()
        try:
            is_answered = await _answers(part, second, manners, note, min(SECOND_TRY_S, scene.limits.answer_s))
        finally:
            await second.end()
        if is_answered:
            note(
                f"the service answers only records with a type header: __TypeId__ {manners.type_ids[topic]} is sent on {topic}"
            )
            return
        del manners.type_ids[topic]
    if failure := scene.hook_failure():
        raise failure
    raise CannotJudge(_why(part, scene))


async def _answers(part: Part, scene: Scene, manners: Manners, note: Callable[[str], None], wait_s: float) -> bool:
    first = part.first
    messages = [await first.prepare(scene) for _ in range(PROBES)]
    width = scene.stage.partitions.get(first.request)
    for n, message in enumerate(messages):
        if width is None:
            await first.ask(scene, message)
        else:
            await scene.send(first.request, message, partition=n % width)
    ids = [str(message["orderId"]) for message in messages]

    def readable(topic: str) -> list[Heard]:
        return [each for id in ids for each in scene.here(topic, id) if each.json is not None]

    def came() -> bool:
        heard = scene.heard()
        if scene.hook_failure():
            return True
        rejected = {each.record.key for each in heard if scene.stage.is_dead_letter_topic(each.topic)}
        return len(rejected) == PROBES or any(
            each.topic == first.answer or _is_answer(part, scene, each) for each in heard
        )

    await scene.stage.until(came, wait_s)
    if readable(first.answer):
        return True
    for each in scene.heard():
        if _is_answer(part, scene, each):
            manners.answer_topics[first.answer] = each.topic
            note(f"the answers come on {each.topic} instead of {first.answer}, and are read there")
            return True
    return False


def _is_answer(part: Part, scene: Scene, each: Heard) -> bool:
    """Whether a record on an unknown topic is an answer: no dead letter, and no request that waits in a retry topic."""
    return (
        each.json is not None
        and each.topic not in BY_NAME
        and not scene.stage.is_dead_letter_topic(each.topic)
        and not each.topic.startswith(tuple(part.played))
    )


def _garbage(part: Part, scene: Scene) -> list[Heard]:
    """Answers that are no JSON objects."""
    return [
        each for each in (*scene.heard(), *scene.stage.strays) if each.topic == part.first.answer and each.json is None
    ]


def _nature(value: bytes | None) -> str:
    """What bytes are that are no JSON object in UTF-8."""
    try:
        found = json.loads(value or b"")
        if isinstance(found, str) and isinstance(json.loads(found), dict):
            return "what is no JSON object but a JSON text that has one inside, as if it was serialized twice"
        if isinstance(found, dict):
            return "what is no JSON object in UTF-8"
    except UnicodeDecodeError as error:
        if (value or b"").startswith(b"{"):
            return f"what is no JSON object in UTF-8: the bytes from number {error.start + 1} on are in another charset"
    except (ValueError, RecursionError):
        pass
    if (value or b"")[:1] == b"\0" and (value or b"")[SCHEMA_ID_BYTES:].lstrip()[:1] == b"{":
        return "what is no JSON object, since the five bytes of a Schema Registry come before it"
    return "what is no JSON object"


def _why(part: Part, scene: Scene) -> str:
    first, waited = part.first, f"{scene.limits.answer_s:g} s"
    if garbage := _garbage(part, scene):
        return (
            f"{part.role} answers on {first.answer} with {_nature(garbage[0].record.value)}: {shown(garbage[0].record.value, 120)}; "
            "the guide's messages are JSON objects, so nothing of it can be judged"
        )
    letters = [each for each in scene.heard() if scene.stage.is_dead_letter_topic(each.topic)]
    if letters:
        return (
            f"{part.role} answers nothing: its first requests became dead letters on {letters[0].topic}{why_of(letters[0])}; "
            "ORDERSAGA_TYPE_IDS names the __TypeId__ that it may need"
        )
    if strangers := scene.stage.tally.of_strangers(scene.place_of(first.answer)):
        return (
            f"{part.role} answers on {first.answer} for orders that nobody has asked for: {shown(strangers[-1].record.value, 120)}; "
            f"none of {PROBES} requests on {first.request or 'its HTTP'} was answered under its own order id within {waited}"
        )
    return (
        f"{part.role} does not answer: {PROBES} requests on {first.request} had no answer on {first.answer} within {waited}. "
        "Does the service run, on this Kafka, and does it read that topic? --answer-within waits longer"
    )
