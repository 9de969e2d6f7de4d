"""The layout of topics: the wanted configs of each topic, the faults of its present state, and the changes that correct them.

Missing topics are created, and a dead letter topic gets as many partitions as its topic. The configs of an existing topic may have been
chosen by an operator: they are compared, and changed only with `apply`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from ordersaga.contracts.topics import (
    CLEANUP,
    DAY_MS,
    MESSAGE_BYTES,
    MESSAGE_BYTES_DEFAULT,
    RETENTION,
    RETENTION_BYTES,
    TOPICS,
    Topic,
    configs,
    letter_configs,
)
from ordersaga.messaging.kafka.client import AGAIN_S, CALL_TIMEOUT_S, KafkaUnavailable
from ordersaga.messaging.kafka.topics import Topics, TopicState
from ordersaga.said import counted
from ordersaga.settings import Settings


class TopicFault(Struct, frozen=True):
    """What is wrong with a topic. `todo`: the command that corrects it. `config`: the name and value that `topics create --apply` sets."""

    topic: str
    what: str
    todo: str
    config: tuple[str, str] | None = None


class TopicChange(Struct, frozen=True):
    """What was changed at a topic."""

    topic: str
    what: str


def wanted_letter_configs(topic: TopicState | None) -> dict[str, str]:
    """The configs of the dead letter topic of a topic."""
    return letter_configs(int(((topic and topic.config) or {}).get(MESSAGE_BYTES, MESSAGE_BYTES_DEFAULT)))


async def states(topics: Topics, of: Sequence[Topic] = TOPICS) -> dict[str, TopicState]:
    """Those of our topics, and of their dead letter topics, that exist."""
    return await topics.states([name for topic in of for name in (topic.name, topic.dead_letters)], configs=True)


async def create_missing_topics(
    settings: Settings, apply: bool = False, of: Sequence[Topic] = TOPICS
) -> list[TopicChange]:
    """Create what is missing and widen dead letter topics; with `apply` also set the configs that are wrong. Raises `KafkaUnavailable`.

    `of`: the topics of the order process, unless a service of another system gives its own.
    """
    topics = Topics(settings)
    found = await states(topics, of)
    missing = {topic.name: configs(topic) for topic in of if topic.name not in found}
    changes = await _create(topics, settings, settings.topic_partitions, missing)
    found |= await _seen(topics, dict.fromkeys(missing, 1))
    by_width: dict[int, dict[str, dict[str, str]]] = {}
    narrow: dict[str, int] = {}
    for topic in of:
        here, letters = found.get(topic.name), found.get(topic.dead_letters)
        width = here.partitions if here else settings.topic_partitions
        if letters is None:
            by_width.setdefault(width, {})[topic.dead_letters] = wanted_letter_configs(here)
        elif letters.partitions < width:
            narrow[topic.dead_letters] = width
            changes.append(TopicChange(topic.dead_letters, f"widened from {letters.partitions} to {width} partitions"))
    for width, wanted in by_width.items():
        changes += await _create(topics, settings, width, wanted)
    await topics.widen(narrow)
    await _seen(topics, narrow | dict.fromkeys([name for wanted in by_width.values() for name in wanted], 1))
    if apply:
        changes += await _configure(topics, settings, of)
    return changes


async def _seen(topics: Topics, wanted: dict[str, int]) -> dict[str, TopicState]:
    """Wait until the topics have at least so many partitions: brokers learn of a change a moment after the controller."""
    for _ in range(int(CALL_TIMEOUT_S / AGAIN_S)):
        found = await topics.states(list(wanted), configs=True)
        if all(name in found and found[name].partitions >= partitions for name, partitions in wanted.items()):
            return found
        await asyncio.sleep(AGAIN_S)
    raise KafkaUnavailable(f"{', '.join(wanted)}: the change is not visible yet")


async def _create(
    topics: Topics, settings: Settings, partitions: int, wanted: dict[str, dict[str, str]]
) -> list[TopicChange]:
    made = await topics.create(list(wanted.items()), partitions, settings.topic_replication_factor)
    return [TopicChange(name, f"created with {partitions} partitions, {_shown(wanted[name])}") for name in made]


async def _configure(topics: Topics, settings: Settings, of: Sequence[Topic]) -> list[TopicChange]:
    wrong = _wrong_configs(settings, await states(topics, of), of)
    await topics.configure(wrong)
    for _ in range(int(CALL_TIMEOUT_S / AGAIN_S)):
        if not wrong or not _wrong_configs(settings, await states(topics, of), of):
            break
        await asyncio.sleep(AGAIN_S)
    return [TopicChange(name, f"set to {_shown(config)}") for name, config in wrong.items()]


def _wrong_configs(settings: Settings, found: dict[str, TopicState], of: Sequence[Topic]) -> dict[str, dict[str, str]]:
    wrong: dict[str, dict[str, str]] = {}
    for fault in faults(settings, found, of):
        if fault.config is not None:
            wrong.setdefault(fault.topic, {}).update([fault.config])
    return wrong


def faults(settings: Settings, found: dict[str, TopicState], of: Sequence[Topic] = TOPICS) -> list[TopicFault]:
    """What is wrong with topics and their dead letter topics, topic by topic."""
    wrong: list[TopicFault] = []
    for topic in of:
        here, letters = found.get(topic.name), found.get(topic.dead_letters)
        wrong += _faults(settings, topic.name, here, configs(topic))
        wrong += _faults(settings, topic.dead_letters, letters, wanted_letter_configs(here))
        if here and letters and letters.partitions < here.partitions:
            what = f"it has {counted(letters.partitions, 'partition')}, its topic {here.partitions}"
            wrong.append(TopicFault(topic.dead_letters, what, "`ordersaga topics create`"))
    return wrong


def _faults(settings: Settings, name: str, here: TopicState | None, wanted: dict[str, str]) -> list[TopicFault]:
    if here is None:
        return [TopicFault(name, "it is missing", "`ordersaga topics create`")]
    wrong = []
    if here.leaderless:
        partitions = ", ".join(map(str, here.leaderless))
        wrong.append(
            TopicFault(name, f"no broker leads partition {partitions}", "start the brokers that have its replicas")
        )
    if here.replicas < settings.topic_replication_factor:
        what = f"{counted(here.replicas, 'replica')} instead of {settings.topic_replication_factor}"
        wrong.append(TopicFault(name, what, "`kafka-reassign-partitions.sh` adds replicas"))
    if here.config is None:
        return [*wrong, TopicFault(name, "its configs may not be read", "allow DescribeConfigs on it")]
    if int(here.config["min.insync.replicas"]) > here.replicas:
        what = f"min.insync.replicas is {here.config['min.insync.replicas']}, with {counted(here.replicas, 'replica')}"
        wrong.append(TopicFault(name, what, "add replicas, or lower it: brokers may refuse every record"))
    for key, value in wanted.items():
        if not _FITS[key](here.config[key], value):
            what = f"{key} is {_readable(key, here.config[key])}, {_readable(key, value)} is wanted"
            wrong.append(TopicFault(name, what, "`ordersaga topics create --apply`", (key, value)))
    return wrong


def _at_least(value: str, wanted: str) -> bool:
    """Whether a limit is as large as wanted; -1 is no limit."""
    return value == "-1" or (wanted != "-1" and int(value) >= int(wanted))


_FITS: Final[dict[str, Callable[[str, str], bool]]] = {
    CLEANUP: lambda value, wanted: value == wanted,
    RETENTION: _at_least,
    RETENTION_BYTES: _at_least,
    MESSAGE_BYTES: _at_least,
}


def _readable(key: str, value: str) -> str:
    return f"{int(value) / DAY_MS:g} days" if key == RETENTION and value != "-1" else value


def _shown(config: dict[str, str]) -> str:
    return ", ".join(f"{key} {_readable(key, value)}" for key, value in config.items() if value != "-1")
