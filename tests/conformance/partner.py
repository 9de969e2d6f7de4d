"""A small service of another team: right by default, and wrong or unusual in one way on demand.

`python -m tests.conformance.partner delivery --bootstrap HOST:PORT --group G --manner forgets-repeats --ready FILE`. It keeps what it knows in
a file, so that a restarted one goes on. When it has its partitions, it writes its process id to the ready file.
"""

import argparse
import contextlib
import os
import random
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.conformance.delivery_partner import DeliveryPartner
from tests.conformance.order_partner import OrderPartner
from tests.conformance.payment_partner import PaymentPartner
from tests.conformance.service_partner import Bad, Reply, ServicePartner
from tests.conformance.stock_partner import StockPartner

PARTNERS: dict[str, type[ServicePartner]] = {
    "delivery": DeliveryPartner,
    "order": OrderPartner,
    "payment": PaymentPartner,
    "stock": StockPartner,
}
SLOW_S = 1.0
LATER_S = 3.0
LATE_S = 2.0
BATCH_MAX = 500
ANY_PARTITION = -1
LINGER_MS = 300


class Loop:
    """Reads, handles, answers, commits: one record after the other."""

    def __init__(self, partner: ServicePartner, bootstrap: str, group: str, ready: Path, slow_s: float) -> None:
        self.partner = partner
        self.slow_s = slow_s
        self.ready = ready
        isolation = "read_uncommitted" if partner.is_("reads-uncommitted") else "read_committed"
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "isolation.level": isolation,
                "group.instance.id": group,  # a restarted one gets its partitions back at once
                "session.timeout.ms": 6000,
            }
        )
        self.in_batches = partner.is_("in-batches") or partner.is_("gives-up-the-whole-batch")
        transactional = partner.is_("transactions") or partner.is_("offsets-in-transactions")
        self.producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": LINGER_MS if self.in_batches else 0}
            | ({"compression.type": "zstd"} if partner.is_("compressed") else {})
            | ({"transactional.id": group} if transactional else {})
        )
        self.transactional = transactional
        if transactional:
            self.producer.init_transactions(10)
        if topic := partner.own_topics.get(partner.manner):
            admin = AdminClient({"bootstrap.servers": bootstrap})
            with contextlib.suppress(KafkaException):  # it is there already
                admin.create_topics([NewTopic(topic, 3)])[topic].result(10)
        self.lost: set[tuple[str | None, int | None]] = set()
        """The partitions of which the next record is lost."""
        self.waiting: list[tuple[float, list[Reply], list[Message]]] = []
        """When to publish which replies, and to commit which records then."""

    def run(self) -> None:
        self.consumer.subscribe(list(self.partner.reads), on_assign=self.assigned)
        while True:
            found = [
                each for each in self.consumer.consume(BATCH_MAX if self.in_batches else 1, 0.02) if not each.error()
            ]
            if found:
                with self.partner.lock:
                    self.handle(found)
            while self.partner.unsaid:
                self.publish([self.partner.unsaid.popleft()])
            while self.waiting and self.waiting[0][0] <= time.monotonic():
                _, replies, handled = self.waiting.pop(0)
                self.publish(replies)
                with self.partner.lock:
                    self.partner.save()
                self.commit(handled)

    def assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Begin at the end of the log the first time, and note that place, so that a restart goes on from there."""
        for each in consumer.committed(partitions, timeout=10):
            if each.offset < 0 or self.partner.is_("begins-at-the-end"):
                each.offset = consumer.get_watermark_offsets(each, timeout=10)[1]
                consumer.commit(offsets=[each], asynchronous=False)
        if self.partner.is_("reads-one-partition"):
            consumer.assign([each for each in partitions if each.partition == 0])
        self.ready.write_text(str(os.getpid()))

    def handle(self, batch: list[Message]) -> None:
        outcomes = [self.outcome(each) for each in batch]
        if self.partner.is_("gives-up-the-whole-batch") and any(is_bad for is_bad, _ in outcomes):
            outcomes = [(True, [self.partner.dead_letter(each, "its batch is bad")]) for each in batch]
        replies = [reply for _, said in outcomes for reply in said]
        if self.partner.is_("two-seconds-late"):
            self.waiting.append((time.monotonic() + LATE_S, replies, batch))
        elif self.partner.is_("shuffles-answers"):
            self.waiting += [(time.monotonic() + random.random() * SLOW_S, [reply], []) for reply in replies]
            self.waiting.append((time.monotonic() + SLOW_S, [], batch))
            self.waiting.sort(key=lambda each: each[0])
        elif self.partner.is_("loses-on-restart"):  # the offset is committed while the answer still waits in memory
            self.commit(batch)
            self.waiting.append((time.monotonic() + SLOW_S, replies, []))
        else:
            later = self.partner.said_later(replies)
            self.publish(self.partner.said_first(replies))
            self.waiting += [(time.monotonic() + LATER_S, later, [])] if later else []
            if self.partner.is_("answers-before-it-keeps"):
                self.waiting.append((time.monotonic() + SLOW_S, [], []))
            else:
                self.partner.save()
            self.commit(batch)

    def commit(self, batch: list[Message]) -> None:
        if self.partner.is_("begins-anew") or self.partner.is_("offsets-in-transactions"):
            return
        for last in {(each.topic(), each.partition()): each for each in batch}.values():
            self.consumer.commit(message=last, asynchronous=False)

    def outcome(self, found: Message) -> tuple[bool, list[Reply]]:
        """Whether the record is bad, and what is published for it."""
        time.sleep(self.slow_s)
        if (found.topic(), found.partition()) in self.lost:
            self.lost.remove((found.topic(), found.partition()))
            return False, []
        try:
            if found.value() is None and self.partner.is_("dies-of-a-tombstone"):
                sys.exit("NullPointerException")
            return False, self.partner.replies(found)
        except Bad as error:
            if self.partner.is_("dies-on-bad-json") or self.partner.is_("dies-of-unknown-fields"):
                sys.exit(f"cannot read: {error}")
            self.lost.update(
                {(found.topic(), found.partition())} if self.partner.is_("drops-what-comes-after-bad") else ()
            )
            while self.partner.is_("tries-for-ever"):
                time.sleep(1)
            skipped = self.partner.is_("skips-what-is-bad")
            return True, [] if skipped else [self.partner.dead_letter(found, str(error))]

    def publish(self, replies: list[Reply]) -> None:
        if self.transactional:
            self.producer.begin_transaction()
        if self.partner.is_("offsets-in-transactions"):
            places = [each for each in self.consumer.position(self.consumer.assignment()) if each.offset >= 0]
            self.producer.send_offsets_to_transaction(places, self.consumer.consumer_group_metadata(), 10)
        for each in replies:
            where = 0 if self.partner.is_("answers-into-one-partition") else ANY_PARTITION
            self.producer.produce(
                each.topic, each.value, each.key, where, timestamp=each.timestamp_ms, headers=[*each.headers]
            )
        self.producer.flush(10)
        if self.transactional:
            self.producer.commit_transaction(10)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("role", choices=PARTNERS)
    for name in ("--bootstrap", "--group", "--ready"):
        options.add_argument(name, required=True)
    options.add_argument("--manner", default="right")
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--slow", type=float, default=0.0, help="seconds that each record takes")
    given = options.parse_args()
    ready = Path(given.ready)
    partner = PARTNERS[given.role](given.manner, ready.with_suffix(".state"), given.port)
    Loop(partner, given.bootstrap, given.group, ready, given.slow).run()


if __name__ == "__main__":
    main()
