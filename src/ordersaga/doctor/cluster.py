"""Examines Kafka: its topics, our rights, its limits beside our settings, its records' times, and the positions of services in its logs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from ordersaga.contracts.messages import DeliveryRequestMessage
from ordersaga.contracts.topics import BY_MESSAGE, DAY_MS, RETENTION, TOPICS, Topic
from ordersaga.doctor.databases import Position
from ordersaga.doctor.finding import CLOCK_S_MAX, Finding
from ordersaga.messaging.kafka import Access, Partition, TopicState, faults
from ordersaga.messaging.kafka.cluster import (
    AUTO_CREATE,
    CONTROLLER_TIMEOUT,
    DEAD_AFTER,
    SESSION_MAX,
    SESSION_MIN,
    Brokers,
    Log,
)
from ordersaga.said import counted
from ordersaga.settings import PREFIX, Settings

PAYABLE: Final = "order-payable-topic"
ADDRESSES: Final = BY_MESSAGE[DeliveryRequestMessage]
SHOWN_MAX: Final = 5
WAITING: Final = {
    DEAD_AFTER: "the partitions of a broker that has died stand still",
    CONTROLLER_TIMEOUT: "what a broker asks of a controller that is cut off waits, producer ids for new producers among it",
}
"""What waits for so many milliseconds, by the brokers' config."""


def topics(settings: Settings, found: Mapping[str, TopicState]) -> Iterator[Finding]:
    """What `topics check` finds, and widths that differ from the setting's."""
    wrong = faults(settings, dict(found))
    for fault in wrong:
        yield Finding("topics", fault.topic, "wrong", fault.what, fault.todo)
    if not wrong:
        yield Finding("topics", "", "ok", f"all {2 * len(TOPICS)} are there, with the configs that they need")
    narrow = [
        each.name for each in TOPICS if each.name in found and found[each.name].partitions < settings.topic_partitions
    ]
    if narrow:
        what = f"{_listed(narrow)} have fewer partitions than {PREFIX}TOPIC_PARTITIONS: fewer processes share their records"
        todo = (
            "lower the setting to what there is; adding partitions later moves keys to others, which ends their order"
        )
        yield Finding("partitions", "", "note", what, todo)


def brokers(settings: Settings, cluster: Brokers, found: Mapping[str, TopicState]) -> Iterator[Finding]:
    """The brokers' limits beside our settings."""
    if settings.topic_replication_factor > cluster.count:
        what = f"{PREFIX}TOPIC_REPLICATION_FACTOR is {settings.topic_replication_factor}, with {cluster.count} brokers"
        yield Finding("brokers", "", "wrong", what, "lower it, or start the other brokers: no topic can be created")
    single = [name for name, state in found.items() if state.replicas == 1]
    if single:
        what = f"{_listed(single)} have one replica: their broker's disk has the only copy of their records"
        yield Finding(
            "brokers", "", "note", what, "three brokers, three replicas and min.insync.replicas 2 in production"
        )
    if cluster.config is None:
        yield Finding("brokers", "", "unknown", "their configs may not be read", "allow DescribeConfigs on the cluster")
        return
    if cluster.config.get(AUTO_CREATE) == "true":
        what = f"{AUTO_CREATE} is on: a client that mistypes a topic creates it, with the wrong configs"
        yield Finding("brokers", "", "note", what, "switch it off")
    for name, what_waits in WAITING.items():
        waits_ms = int(cluster.config.get(name) or 0)
        if cluster.count > 1 and waits_ms > settings.kafka_session_timeout_ms:
            what = (
                f"{name} of the brokers is {waits_ms}: so long {what_waits}, longer than the partitions of a process that has died "
                f"({PREFIX}KAFKA_SESSION_TIMEOUT_MS, {settings.kafka_session_timeout_ms})"
            )
            yield Finding("time-outs", "brokers", "note", what, f"{name}=3000 on each broker")
    limits = [cluster.config.get(name) for name in (SESSION_MIN, SESSION_MAX)]
    if not all(limits):
        what = f"the brokers do not tell {SESSION_MIN} and {SESSION_MAX}"
        todo = f"see that {PREFIX}KAFKA_SESSION_TIMEOUT_MS is within the limits that their documentation names"
        yield Finding("time-outs", "brokers", "note", what, todo)
        return
    low, high = (int(limit or 0) for limit in limits)
    if not low <= settings.kafka_session_timeout_ms <= high:
        what = (
            f"{PREFIX}KAFKA_SESSION_TIMEOUT_MS is {settings.kafka_session_timeout_ms}; the brokers take {low} to {high}"
        )
        yield Finding("time-outs", "brokers", "wrong", what, "change one of them: no process can join its group")
    else:
        yield Finding("time-outs", "brokers", "ok", f"the brokers take our session time-out; there are {cluster.count}")


def retention(settings: Settings, found: Mapping[str, TopicState]) -> Iterator[Finding]:
    """How long Kafka keeps records beside how long they are needed."""
    config = found[PAYABLE].config if PAYABLE in found else None
    kept_ms = int(config[RETENTION]) if config else -1
    if 0 <= kept_ms < settings.payment_deadline_s * 1000:
        what = (
            f"an order may be paid for {settings.payment_deadline_s} s ({PREFIX}PAYMENT_DEADLINE_S), and {PAYABLE} keeps its state for "
            f"{kept_ms // 1000}: a Payment that was down, or is new, refuses to take its money"
        )
        yield Finding("retention", PAYABLE, "wrong", what, "raise retention.ms of the topic, or lower the setting")
    yield from _personal_data(settings, found)


def _personal_data(settings: Settings, found: Mapping[str, TopicState]) -> Iterator[Finding]:
    """Topics that keep addresses for longer than the services do."""
    days = settings.personal_data_kept_days
    for name in (ADDRESSES.name, ADDRESSES.dead_letters) if days is not None else ():
        config = found[name].config if name in found else None
        kept_ms = int(config[RETENTION]) if config else None
        if days is not None and kept_ms is not None and not 0 <= kept_ms <= days * DAY_MS:
            kept = "for ever" if kept_ms < 0 else f"for {kept_ms / DAY_MS:g} {'day' if kept_ms == DAY_MS else 'days'}"
            what = f"services clear addresses after {counted(days, 'day')} ({PREFIX}PERSONAL_DATA_KEPT_DAYS), and the topic keeps them {kept}"
            todo = "raise the setting, or lower retention.ms of the topic if its records need not be read for so long"
            yield Finding("retention", name, "note", what, todo)


def rights(services: Collection[str], access: Mapping[str, Access]) -> Iterator[Finding]:
    """What Kafka's ACLs allow the user of these settings, beside what the services do."""
    wrong = list(_missing_rights(services, access))
    yield from wrong
    if not wrong and any(each.operations is not None for each in access.values()):
        yield Finding("rights", "", "ok", f"the ACLs allow what {', '.join(services)} do")


def _missing_rights(services: Collection[str], access: Mapping[str, Access]) -> Iterator[Finding]:
    for operation, names in (
        ("READ", [each.name for each in TOPICS if set(each.consumers) & set(services)]),
        ("WRITE", [name for each in TOPICS for name in _written(each, services)]),
    ):
        for name in names:
            if name in access and not access[name].allows(operation):
                todo = f"kafka-acls.sh --add --operation {operation.capitalize()} --topic {name} ..., for the user of these settings"
                yield Finding("rights", name, "wrong", f"the ACLs do not allow {operation} on it", todo)


def _written(topic: Topic, services: Collection[str]) -> list[str]:
    sent = [topic.name] if topic.producer in services else []
    return [*sent, topic.dead_letters] if topic.consumer in services else sent


def clocks(logs: Mapping[Partition, Log], now_s: float) -> Finding:
    """Records from the future: Kafka tells no time, but its records have the times of those who wrote them."""
    newest = max(((log.newest_ms, each) for each, log in logs.items() if log.newest_ms is not None), default=None)
    if newest is None or newest[0] / 1000 - now_s <= CLOCK_S_MAX:
        return Finding("clock", "Kafka", "ok", "no record has a time that is still to come")
    what = f"{newest[1]} has a record from {newest[0] / 1000 - now_s:.1f} s in the future: its writer's clock is ahead, or ours is behind"
    return Finding(
        "clock", "Kafka", "wrong", what, "have all machines keep time with NTP: Kafka deletes by these times"
    )


def positions(
    service: str, rows: Sequence[Position], found: Mapping[str, TopicState], logs: Mapping[Partition, Log]
) -> Iterator[Finding]:
    """Whether each position of a service is in the log that it was taken from."""
    lost = "`ordersaga verify` names what is missing; then `ordersaga topics accept {}`".format
    wrong, looked_at, unknown = False, [], []
    for row in rows:
        topic, log = row.partition.topic, logs.get(row.partition)
        if topic not in found:
            continue  # `topics` says it
        what = None
        if row.topic_id != found[topic].topic_id:
            what = "the topic was deleted and created again since"
        elif log is None:
            unknown.append(str(row.partition))
            continue
        elif row.next_offset < log.first:
            what = f"records from {row.next_offset} to {log.first - 1} were removed before they were handled"
        elif row.next_offset > log.end:
            what = f"the log ends at {log.end}, before the position {row.next_offset}: brokers have lost records"
        if what is not None:
            wrong = True
            yield Finding("positions", f"{service} in {row.partition}", "wrong", what, lost(topic))
        looked_at.append(row)
    if unknown:
        what = f"Kafka does not tell where the logs of {_listed(unknown)} begin and end"
        yield Finding("positions", service, "unknown", what, "see that each partition has a leader, then try again")
    if not wrong and looked_at:
        waiting = sum(logs[row.partition].end - row.next_offset for row in looked_at)
        yield Finding(
            "positions",
            service,
            "ok",
            f"{counted(len(looked_at), 'partition is in its log', 'partitions are in their logs')}; {counted(waiting, 'record waits', 'records wait')}",
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return f"{', '.join(names[:SHOWN_MAX])}{more}"
