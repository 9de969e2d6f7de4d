"""What the small services of another team share: reading a record, writing an answer, and the ways to do either wrong."""

import hashlib
import json
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from uuid import UUID, uuid4

from confluent_kafka import Message

MEMORY = 30
Json = dict[str, Any]
Headers = list[tuple[str, bytes]]


class Bad(Exception):
    """The record is no message."""


class Reply(NamedTuple):
    """A record to publish."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int = 0
    """0: the time of its sending."""


class ServicePartner:
    """A role. `manner`: in which way it is wrong or unusual; "right" for neither."""

    reads: ClassVar[tuple[str, ...]]
    optional: ClassVar[frozenset[str]] = frozenset()
    known: ClassVar[frozenset[str]]
    """Names of the fields of the messages that it reads."""
    own_topics: ClassVar[dict[str, str]] = {}
    """The topic that a manner needs."""

    def __init__(self, manner: str, state: Path, port: int) -> None:
        self.manner = manner
        self._state = state
        self.memory: Json = json.loads(state.read_text()) if state.exists() else {}
        self.unsaid: deque[Reply] = deque()
        self._is_restarted = state.exists()
        self.bytes_now = ""
        """A digest of the record that is handled, for those that know a repeat by its bytes."""
        self.message_id: str | None = None
        """The `message-id` of the record that is handled, for those that know a repeat by it."""
        self._order_before: str | None = None
        self.lock = threading.Lock()
        """Held while a request or a record is handled."""
        self.start(port)

    def start(self, port: int) -> None:
        """What a role does first."""

    def serve(self, port: int, answer: Callable[[Json], Json]) -> None:
        """Answer each HTTP request with what this makes of its body."""

        lock = self.lock

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    said = json.dumps(answer(body)).encode()
                self.send_response(201)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

        threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", port), Door).serve_forever, daemon=True).start()

    def say(self, topic: str, message: Json) -> None:
        """Publish a message that answers no record."""
        self.unsaid.append(self._reply(topic, message))

    def is_(self, manner: str) -> bool:
        return self.manner == manner

    def save(self) -> None:
        """Keep what the role knows for a restart."""
        if self.is_("forgets-all-on-restart"):
            return
        new = self._state.with_suffix(".new")
        new.write_text(json.dumps(self.kept()))
        new.replace(self._state)

    def forget_the_oldest(self, memory: Json) -> None:
        """One that remembers thirty forgets what it has known longest."""
        if self.is_("remembers-thirty") and len(memory) > MEMORY:
            memory.pop(next(iter(memory)))

    def kept(self) -> Json:
        """What a restarted one knows."""
        return self.memory

    def replies(self, record: Message) -> list[Reply]:
        """What the role publishes for a record. Raises `Bad`."""
        if self.is_("never-answers"):
            return []
        message = self._read(record)
        self.bytes_now = hashlib.sha256(record.value() or b"").hexdigest()
        said = dict(record.headers() or []).get("message-id")
        self.message_id = said.decode() if isinstance(said, bytes) else None
        if self.is_("loses-what-has-unknown-fields") and set(message) - self.known:
            return []
        answers = self.answer(record.topic() or "", message)
        if self.is_("fails-unknown-fields") and set(message) - self.known:
            answers = [(each, answer | {"status": "FAILED"}) for each, answer in answers]
        if self.is_("names-a-stranger"):
            answers = [(each, answer | {"orderId": str(uuid4())}) for each, answer in answers]
        if self.is_("names-the-order-before"):
            order, self._order_before = self._order_before or message["orderId"], message["orderId"]
            answers = [(each, answer | {"orderId": order}) for each, answer in answers]
        replies = [self._reply(topic, answer) for topic, answer in answers]
        if self.is_("copies-headers-and-time"):
            copied = [(name, value) for name, value in dict(record.headers() or []).items() if isinstance(value, bytes)]
            replies = [each._replace(headers=copied, timestamp_ms=record.timestamp()[1]) for each in replies]
        if self.is_("writes-a-journal"):
            journal = {"orderId": message["orderId"], "status": "FAILED", "seen": record.topic()}
            replies.append(Reply(self.own_topics[self.manner], None, json.dumps(journal).encode(), []))
        if self.is_("also-progress"):
            replies.insert(0, self._reply(answers[0][0], answers[0][1] | {"status": "REQUESTED"}))
        is_twice = self.is_("answers-twice") or (self.is_("answers-twice-after-a-restart") and self._is_restarted)
        return replies * 2 if is_twice else replies

    def said_first(self, replies: list[Reply]) -> list[Reply]:
        """What is published at once. One that retries first has a copy of a bad record in a topic for retries."""
        if not self.is_("retries-first"):
            return replies
        return [each._replace(topic=each.topic.replace("-dlt", "-retry")) for each in replies]

    def said_later(self, replies: list[Reply]) -> list[Reply]:
        """What is published seconds later, too."""
        if self.is_("changes-its-mind"):
            return [each._replace(value=each.value.replace(b"STARTED", b"FAILED")) for each in replies]
        if self.is_("retries-first"):
            return [each for each in replies if each.topic.endswith("-dlt")]
        return replies if self.is_("answers-again-later") else []

    def answer(self, topic: str, message: Json) -> list[tuple[str, Json]]:
        """The rule of the role: the answers, with their topics."""
        raise NotImplementedError

    def answer_topic(self, topic: str) -> str:
        return self.own_topics[self.manner] if self.is_("wrong-topic") else topic

    def _read(self, record: Message) -> Json:
        headers = dict(record.headers() or [])
        if self.is_("trips-over-headers") and any(value is None or b"\xff" in value for value in headers.values()):
            raise Bad("a header that is no text")
        if self.is_("believes-the-type-header") and "__TypeId__" in headers:
            raise Bad("the class is not in the trusted packages")
        if self.is_("reads-small-records-alone") and len(record.value() or b"") > 100_000:
            raise Bad("too large")
        try:
            message = json.loads(record.value() or b"")
        except ValueError as error:
            raise Bad(f"no JSON: {error}") from error
        if not isinstance(message, dict):
            raise Bad("no object")
        if self.is_("needs-a-type-header") and "__TypeId__" not in headers:
            raise Bad("no type information in headers and no default type provided")
        refuses = self.is_("refuses-unknown-fields") or self.is_("dies-of-unknown-fields")
        if refuses and (more := set(message) - self.known):
            raise Bad(f"unknown fields {more}")
        if self.is_("needs-every-field") and (less := self.optional - set(message)):
            raise Bad(f"missing fields {less}")
        if self.is_("trips-over-null") and any(name in message and message[name] is None for name in self.optional):
            raise Bad("null")
        if self.is_("takes-the-id-from-the-key"):
            message["orderId"] = (record.key() or b"").decode()
        try:
            id = str(UUID(message["orderId"]))
            message["orderId"] = message["orderId"] if self.is_("keeps-ids-as-text") else id
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Bad("no order id") from error
        return message

    def _reply(self, topic: str, answer: Json) -> Reply:
        key: bytes | None = self._key(topic, answer)
        headers: Headers = []
        timestamp_ms = int(time.time()) if self.is_("seconds-for-milliseconds") else 0
        match self.manner:
            case "snake-case":
                answer = {"".join(f"_{c.lower()}" if c.isupper() else c for c in name): answer[name] for name in answer}
            case "wrong-status-word":
                answer = answer | {"status": {"STARTED": "IN_TRANSIT", "SUCCESS": "OK"}.get(answer["status"], "FAILED")}
            case "lower-case-status":
                answer = {name: value.lower() if name == "status" else value for name, value in answer.items()}
            case "ordinal-status":
                answer = answer | {"status": ("STARTED", "SUCCESS").count(answer["status"])}
            case "upper-case-ids":
                answer = {name: value.upper() if name.endswith("Id") else value for name, value in answer.items()}
            case "in-an-envelope":
                answer = {"schema": None, "payload": answer}
            case "no-key-and-sorted":
                key, answer = None, dict(sorted(answer.items()))
            case "talkative":
                answer = answer | {"traceId": "t", "more": {"version": 2}}
                headers = [("__TypeId__", b"com.example.Started"), ("b3", b"0"), ("raw", b"\x00\xff")]
        return Reply(self.answer_topic(topic), key, self._written(answer), headers, timestamp_ms)

    def _key(self, topic: str, answer: Json) -> bytes:
        is_else = {
            "keyed-by-something-else": True,
            "keys-failures-by-something-else": answer.get("status") == "FAILED",
            "keys-rollbacks-by-something-else": "rollback" in topic,
        }
        if is_else.get(self.manner):
            return b"7"
        if self.is_("keys-completions-by-customer") and topic == "order-completed-topic":
            return str(answer["customerId"]).encode()
        return (json.dumps(answer["orderId"]) if self.is_("quotes-the-key") else str(answer["orderId"])).encode()

    def _written(self, answer: Json) -> bytes:
        text = json.dumps(answer, ensure_ascii=False, indent=2 if self.is_("pretty") else None)
        match self.manner:
            case "answers-garbage":
                return b"\x00\x00\x00\x00\x07Hstarted"
            case "serializes-twice":
                return json.dumps(text).encode()
            case "writes-utf-16":
                return text.encode("utf-16")
            case "with-a-schema-id":
                return b"\0\0\0\0\7" + text.encode()
            case "euc-kr":
                return text.replace('"success"', '"재고 있음"').encode("euc-kr", "replace")
            case "with-a-bom":
                return text.encode("utf-8-sig")
        return text.encode()

    def dead_letter(self, record: Message, why: str) -> Reply:
        """As Spring's recoverer writes it."""
        if self.is_("letters-without-the-record"):
            return Reply(f"{record.topic()}-dlt", record.key(), json.dumps({"error": why}).encode(), [])
        if self.is_("letters-in-an-envelope"):
            envelope = {"error": why, "payload": (record.value() or b"").decode("latin-1")}
            return Reply(f"{record.topic()}-dlt", record.key(), json.dumps(envelope).encode(), [])
        if self.is_("letters-without-key"):
            return Reply(f"{record.topic()}-dlt", None, record.value() or b"", [])
        if self.is_("letters-elsewhere"):
            return Reply(f"failed-{record.topic()}", record.key(), record.value() or b"", [])
        if self.is_("letters-in-one-queue"):
            return Reply("dead-letters", record.key(), record.value() or b"", [])
        headers = [
            *(record.headers() or []),
            ("kafka_dlt-original-topic", (record.topic() or "").encode()),
            ("kafka_dlt-original-partition", struct.pack(">i", record.partition())),
            ("kafka_dlt-original-offset", struct.pack(">q", record.offset())),
            ("kafka_dlt-exception-message", why.encode()),
        ]
        return Reply(f"{record.topic()}-dlt", record.key(), record.value() or b"", headers)
