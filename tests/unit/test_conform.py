"""The parts of `ordersaga conform` that need no Kafka: selection, lenient reading, names of queues, options."""

import re
from pathlib import Path

import pytest

from ordersaga.conformance import PARTS, NoSuchCase
from ordersaga.conformance.cases import Case, select
from ordersaga.conformance.scene import why_of
from ordersaga.conformance.stage import has_dead_letter_name
from ordersaga.conformance.wire import Heard, compact, number_in
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.handler import Coordinates, Record
from tests.commands import type_command
from tests.unit.test_letter_headers import GOLDEN

TEAMS_OWN = re.compile("poisoned|fs-")
"""Queues whose names no stack gives."""
ORDER = "8b91c74c-f28d-4f11-823a-8e727ff052c2"


async def _nothing(_: object) -> None:
    pass


CASES = [
    Case("a happy case", "guide, step 1", frozenset({"happy"}), _nothing),
    Case("a sad case", "guide, step 2", frozenset({"failures", "limits"}), _nothing),
]


@pytest.mark.parametrize(
    "record, letter, has",
    [
        (b'{"a": "\xea\xb9\x80"}', b'{"a": "\xea\xb9\x80"}', True),
        (b"\xac\xed\x00", b'"rO0A"', True),
        (b"\xac\xed\x00", b'{"payload": "\\u00ac\\u00ed\\u0000"}', True),
        (b'{"a": "x"', b'{"payload": "{\\"a\\": \\"x\\""}', True),
        (b'{"a": "x"', b'{"error": "no JSON"}', False),
        (b"", b'{"error": "no JSON"}', True),
    ],
)
def test_a_dead_letter_that_has_the_record_is_told_from_one_that_has_not(
    record: bytes, letter: bytes, has: bool
) -> None:
    assert heard(letter).has(record) is has


def heard(value: bytes | None, key: bytes | None = None, headers: tuple[tuple[str, bytes | None], ...] = ()) -> Heard:
    return Heard(Record("delivery-start-topic", 0, 7, key, value, headers, 0), 1.0)


@pytest.mark.parametrize(
    "value, number",
    [
        *((25_000, 25_000), (25_000.0, 25_000), ("25000", 25_000), ("25000.00", 25_000), ("2.5e4", 25_000)),
        *((None, None), (True, None), ("won", None), (float("nan"), None), (float("inf"), None), ([], None)),
    ],
)
def test_a_number_is_read_however_it_is_written(value: object, number: int | None) -> None:
    assert number_in(value) == number


@pytest.mark.parametrize("role", PARTS)
def test_each_role_has_its_cases_with_a_promise_each(role: str) -> None:
    cases = PARTS[role].cases
    assert len(cases) >= 25 and len({each.name for each in cases}) == len(cases)
    assert all(len(each.promise) > 20 and each.tags for each in cases)


@pytest.mark.parametrize(
    "role, words",
    [
        ("delivery", ["FAILED or STARTED"]),
        ("payment", ["FAILED or SUCCESS", "FAILED or SUCCESS"]),
        ("stock", ["FAILED or SUCCESS"]),
    ],
)
def test_each_status_word_of_the_guide_has_its_case(role: str, words: list[str]) -> None:
    promises = [each.promise for each in PARTS[role].cases if "status word" in each.name]
    assert sorted(promises) == [f"guide, messages: status is {each}" for each in words]


def test_cases_are_selected_by_tag_or_by_a_part_of_their_name() -> None:
    assert select(CASES, []) == CASES
    assert select(CASES, ["happy"]) == CASES[:1]
    assert select(CASES, ["SAD"]) == CASES[1:]
    assert select(CASES, ["limits", "happy"]) == CASES


def test_a_selection_of_nothing_names_what_is_near() -> None:
    with pytest.raises(NoSuchCase, match="near it: failures"):
        select(CASES, ["failure-s"])


def test_an_answer_is_read_in_any_spelling_of_its_fields() -> None:
    answer = heard(compact({"order_id": ORDER.upper(), "Delivery-Id": "x", "STATUS": "fail"}))
    assert (answer.field("orderId"), answer.field("deliveryId"), answer.failed) == (ORDER.upper(), "x", True)
    assert list(answer.ids) == [ORDER]


@pytest.mark.parametrize(
    "value", [None, b"", b"[1]", b"\xff\x00", b'"' + b"A" * 20 + b'"', b'"' + b"A" * 17 + b'"', b"[" * 100_000]
)
def test_garbage_is_no_answer_and_no_error(value: bytes | None) -> None:
    answer = heard(value)
    assert answer.json is None and answer.field("status") is None and not list(answer.ids)


def test_a_letter_says_where_its_record_was() -> None:
    place = (
        ("kafka_dlt-original-topic", b"order-created"),
        ("kafka_dlt-original-partition", b"\0\0\0\2"),
        ("kafka_dlt-original-offset", b"\0\0\0\0\0\0\0\5"),
    )
    assert heard(b"x", headers=place).origin == Coordinates("order-created", 2, 5)
    assert heard(b"x").origin is None


@pytest.mark.parametrize("name", ["kafka_dlt-exception-message", "x-exception-message", "reason_poisoned"])
def test_the_reason_of_a_letter_is_read_whatever_stack_wrote_it(name: str) -> None:
    assert why_of(heard(b"x", headers=((name, b"no such product"),))) == " (no such product)"
    assert why_of(heard(b"x")) == ""


@pytest.mark.parametrize("topic", sorted({each["topic"] for each in GOLDEN if not TEAMS_OWN.match(each["topic"])}))
def test_the_queue_of_each_stack_is_known_by_its_name(topic: str) -> None:
    assert has_dead_letter_name(topic)


@pytest.mark.parametrize(
    "topic",
    [
        "dead-letters",
        "shop.dead_letter.queue",
        "dlq-stock",
        "stock-dlq-2",
        "orders.poison",
        "orderDLQ",
        "errors.order-created",
    ],
)
def test_queues_that_teams_name_are_known_too(topic: str) -> None:
    assert has_dead_letter_name(topic)


@pytest.mark.parametrize("topic", ["stock-deltas", "payment-failed-topic", "order-deadlines", "order-created-retry"])
def test_what_only_looks_like_such_a_name_is_none(topic: str) -> None:
    assert not has_dead_letter_name(topic)


@pytest.mark.parametrize("topic", BY_NAME)
def test_no_topic_of_the_contract_is_taken_for_one_of_dead_letters(topic: str) -> None:
    assert not has_dead_letter_name(topic) and has_dead_letter_name(BY_NAME[topic].dead_letters)


def test_what_cannot_be_run_is_told_with_exit_code_2(tmp_path: Path) -> None:
    config = tmp_path / "conform.toml"
    config.write_text('quiet-fro = 1\nwithout = ["compensation"]\n')
    wrong = {
        ("--config", str(config)): "quiet-fro is no option",
        ("--only", "hapy"): "near it: happy",
        ("--hook", "cancel"): "NAME=HOOK",
        ("--hook", "sell=run x"): "there is no hook 'sell'",
        ("--header", "x"): "NAME: VALUE",
        ("--seed", "INSERT INTO product"): "write it as",
        ("--without", "compensatoin"): "no case has this tag. Tags: ",
        ("--without", "compensatoin", "--list"): "no case has this tag. Tags: ",
        ("--dead-letter-topic", "failed-{topc}"): "{topic} is the only name",
        ("--junit", str(config / "junit.xml")): "junit.xml: the folder",
        ("--html", ""): "directory",
    }
    for arguments, said in wrong.items():
        answer = type_command(["conform", "stock", *arguments], {"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
        assert answer.code == 2 and said in answer.err, (arguments, answer)


@pytest.mark.parametrize(
    "line, said",
    [
        ('without = "compensation"', "Expected `array`, got `str` - at `$.without`"),
        ('answer-within = "fast"', "Expected `float`, got `str` - at `$.answer-within`"),
        ("answer-within = 0", "Expected `float` >= 0.5 - at `$.answer-within`"),
        ("load = 0", "Expected `int` >= 1 - at `$.load`"),
        ('hooks = ["run x"]', "Expected `object`, got `array` - at `$.hooks`"),
        ("settings = 1", "Expected `object`, got `int` - at `$.settings`"),
        ("only = [", "cannot be used"),
    ],
)
def test_a_config_file_with_a_wrong_value_is_refused_with_its_place(tmp_path: Path, line: str, said: str) -> None:
    config = tmp_path / "conform.toml"
    config.write_text(line)
    answer = type_command(["conform", "stock", "--config", str(config)], {})
    assert answer.code == 2 and said in answer.err, answer


def test_an_option_of_the_command_line_takes_precedence_over_the_config_file(tmp_path: Path) -> None:
    config = tmp_path / "conform.toml"
    config.write_text('only = ["hapy"]\nwithout = ["load"]\nquiet-for = 3\n')
    options = ["--config", str(config), "--only", "happy", "--without", "compensation", "--quiet-for", "2"]
    answer = type_command(["conform", "stock", *options], {"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert answer.code == 2 and "Kafka at 127.0.0.1:1 cannot be used" in answer.err, answer


def test_the_list_of_cases_needs_no_kafka() -> None:
    answer = type_command(["conform", "delivery", "--list", "--only", "happy"], {})
    assert answer.code == 0 and "answered STARTED" in answer.out and "bad JSON" not in answer.out


def test_the_list_has_the_cases_that_would_be_played() -> None:
    answer = type_command(["conform", "delivery", "--list", "--without", "poison"], {})
    assert answer.code == 0 and "answered STARTED" in answer.out and "bad JSON" not in answer.out


def test_the_folder_of_a_report_is_made_before_anything_is_played(tmp_path: Path) -> None:
    file = tmp_path / "build" / "conform.html"
    options = ["--html", str(file)]
    answer = type_command(["conform", "delivery", *options], {"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert "127.0.0.1:1 cannot be used" in answer.err and file.parent.is_dir() and not file.exists(), answer


def test_a_config_file_has_the_options_and_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "conform.toml"
    config.write_text(
        'only = ["happy"]\nanswer-within = 3\n[hooks]\nseed = "run ./seed $productId"\n'
        '[settings]\nkafka_bootstrap_servers = "127.0.0.1:2"\n'
    )
    answer = type_command(["conform", "stock", "--config", str(config)], {})
    assert answer.code == 2 and "Kafka at 127.0.0.1:2 cannot be used" in answer.err, answer
    config.write_text('[settings]\nkafka_bootstrap_server = "127.0.0.1:2"\n')
    answer = type_command(["conform", "stock", "--config", str(config)], {})
    assert answer.code == 2 and "ORDERSAGA_KAFKA_BOOTSTRAP_SERVER in [settings] is no setting" in answer.err, answer
