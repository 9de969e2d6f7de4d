"""The AsyncAPI documents as the official parser reads them."""

import json
from pathlib import Path
from typing import Any

import pytest

from ordersaga.contracts.asyncapi import document
from ordersaga.contracts.headers import LETTER, RECORD
from ordersaga.contracts.topics import TOPICS
from tests.commands import type_command
from tests.node.conftest import Node

pytestmark = pytest.mark.processes

PARTS = (None, "order", "stock", "payment", "delivery", "client")


@pytest.fixture(scope="module")
def parsed(node: Node, tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Any]:
    """What the parser read in each document that the command prints."""
    folder = tmp_path_factory.mktemp("asyncapi")
    paths = []
    for part in PARTS:
        said = type_command(["asyncapi", *([part] if part else [])], {})
        assert said.code == 0, said
        paths.append(folder / f"{part}.json")
        paths[-1].write_text(said.out)
    done = node("parse.mjs", *paths)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(zip(PARTS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("part", PARTS)
def test_the_official_parser_has_nothing_to_complain_about(parsed: dict[str | None, Any], part: str | None) -> None:
    # A server's security and later versions of AsyncAPI are advice, and none of them a fault.
    complaints = [each for each in parsed[part]["diagnostics"] if each["severity"] <= 1]
    assert complaints == []


def test_the_parser_sees_every_topic_with_its_dead_letters_and_what_kafka_must_know(
    parsed: dict[str | None, Any],
) -> None:
    channels = {each["address"]: each for each in parsed[None]["channels"]}
    letters = [topic.dead_letters for topic in TOPICS]
    assert channels.keys() == {topic.name for topic in TOPICS} | set(letters)
    for topic in TOPICS:
        binding = channels[topic.name]["bindings"]
        assert binding["topic"] == topic.name and binding["partitions"] == 12
        cleanup = "delete" if topic.kept_days else "compact"
        assert binding["topicConfiguration"]["cleanup.policy"] == [cleanup]
        (message,) = channels[topic.name]["messages"]
        assert message["name"] == topic.message.__name__
        assert message["headers"]["properties"].keys() == RECORD.keys() and "required" not in message["headers"]
        assert set(topic.message.__struct_encode_fields__) == message["payload"]["properties"].keys()
    for name in letters:
        (message,) = channels[name]["messages"]
        assert message["headers"]["required"] == list(LETTER)


def test_a_services_document_has_its_own_operations_alone(parsed: dict[str | None, Any]) -> None:
    for part in PARTS[1:]:
        seen = {(each["action"], *each["channels"]) for each in parsed[part]["operations"]}
        sends = {("send", topic.name) for topic in TOPICS if topic.producer == part}
        receives = {("receive", topic.name) for topic in TOPICS if part in topic.consumers}
        gives_up = {("send", topic.dead_letters) for topic in TOPICS if part in topic.consumers}
        assert seen == sends | receives | gives_up


REPLIES = {
    "order-created": ("stock-response-topic", "StockResponseMessage"),
    "delivery-request-topic": ("delivery-start-topic", "DeliveryStartMessage"),
    "stock-rollback-requested-topic": ("stock-rollback-completed-topic", "StockRollbackCompletedMessage"),
    "payment-cancel-requested-topic": ("payment-cancelled-topic", "PaymentCancelledMessage"),
}
UNASKED = {"payment-success-topic", "order-completed-topic", "order-payable-topic", "product-price-topic"}


def test_a_request_has_its_reply_at_both_ends_and_its_answer_names_the_request(
    parsed: dict[str | None, Any],
) -> None:
    for part in (None, "order", "stock", "payment", "delivery"):
        channels = {each["address"]: each["messages"][0].get("correlation") for each in parsed[part]["channels"]}
        for each in parsed[part]["operations"]:
            (channel,) = each["channels"]
            expected = REPLIES.get(channel)
            assert each["reply"] == (expected and {"channel": expected[0], "messages": [expected[1]]}), each
        for address in channels.keys() - {topic.dead_letters for topic in TOPICS}:
            header = "message-id" if address in REPLIES.keys() | UNASKED else "causation-id"
            assert channels[address] == f"$message.header#/{header}", address
    rollback = document()["operations"]["stockReceivesStockRollbackRequestedMessage"]
    assert "or StockRollbackFailedMessage on stock-rollback-failed-topic" in rollback["description"]


def test_the_parser_would_complain(node: Node, tmp_path: Path) -> None:
    broken = document()
    broken["operations"]["orderSendsOrderPayableMessage"]["channel"]["$ref"] = "#/channels/missing"
    broken["channels"]["order-created"]["bindings"]["kafka"]["partitions"] = 0
    broken["operations"]["orderSendsStockDecreaseRequestMessage"]["reply"]["messages"][0]["$ref"] = "#/channels/x/y"
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    (said,) = json.loads(node("parse.mjs", tmp_path / "broken.json").stdout)
    faults = {each["path"].split("/")[1] for each in said["diagnostics"] if each["severity"] == 0}
    assert faults >= {"orderSendsOrderPayableMessage", "orderSendsStockDecreaseRequestMessage"}, said["diagnostics"]
