"""When a client of Kafka counts as one that has lost Kafka for good, and is replaced."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from ordersaga.messaging.kafka import lifeline
from ordersaga.messaging.kafka.lifeline import Lifeline
from ordersaga.settings import Settings

ANSWERED, WITHOUT_BROKERS = ["a broker"], list[str]()
NOT_CONNECTED, NOT_ANSWERED = KafkaError._TRANSPORT, KafkaError._TIMED_OUT
"""How librdkafka tells that no connection to a broker came up in time, and that a broker did not answer in time."""

Said = list[str] | int


class Client:
    """A client with these results of its questions, one after the other."""

    def __init__(self, *said: Said) -> None:
        self.said = list(said)

    def list_topics(self, **_: Any) -> Any:
        result = self.said.pop(0)
        if isinstance(result, int):
            raise KafkaException(KafkaError(result, "in a test"))
        return SimpleNamespace(brokers=result)


def lost(monkeypatch: pytest.MonkeyPatch, client: Client, another: Client) -> tuple[bool, bool]:
    """Whether this client is lost, and whether it counts as heard."""
    monkeypatch.setattr(lifeline, "AdminClient", lambda _: another)
    line = Lifeline(Settings())
    line._heard_at_s -= 60.0
    is_lost = line.is_lost(client)
    return is_lost, not line.is_silent


def test_a_client_that_reaches_no_broker_while_another_one_is_answered_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lost(monkeypatch, Client(NOT_CONNECTED, NOT_CONNECTED), Client(ANSWERED)) == (True, False)


def test_a_client_to_which_a_broker_names_no_broker_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lost(monkeypatch, Client(WITHOUT_BROKERS, NOT_CONNECTED), Client(ANSWERED)) == (True, False)


def test_a_client_whose_question_waits_at_a_broker_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question waits behind a record that a broker which is cut off has yet to acknowledge, or is at that broker."""
    assert lost(monkeypatch, Client(NOT_ANSWERED, NOT_ANSWERED), Client(ANSWERED)) == (False, False)


def test_a_client_that_connects_again_while_it_is_asked_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lost(monkeypatch, Client(NOT_CONNECTED, ANSWERED), Client(ANSWERED)) == (False, True)
    assert lost(monkeypatch, Client(NOT_CONNECTED, NOT_ANSWERED), Client(ANSWERED)) == (False, False)


def test_a_client_is_not_lost_while_kafka_answers_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for away in (NOT_CONNECTED, NOT_ANSWERED, WITHOUT_BROKERS):
        assert lost(monkeypatch, Client(NOT_CONNECTED), Client(away)) == (False, False)


def test_a_client_that_is_answered_counts_as_heard_and_no_other_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lost(monkeypatch, Client(ANSWERED), Client()) == (False, True)
