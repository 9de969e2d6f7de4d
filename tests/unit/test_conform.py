"""The parts of `ordersaga conform` that need no Kafka: selection, hooks, lenient reading, reports."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import psutil
import pytest
from msgspec.structs import replace

from ordersaga.conformance import PARTS, NoSuchCase, Plan, Report, Result, WrongHook
from ordersaga.conformance import hooks as hooks_module
from ordersaga.conformance.cases import Case, select
from ordersaga.conformance.hooks import Answer, Hook, HookFailed, Hooks, _literal
from ordersaga.conformance.report import explanation, html, junit, summary
from ordersaga.conformance.run import CASE_S_MAX, RECORDS_KEPT_MAX, Director, Outcome, longest_of
from ordersaga.conformance.scene import Limits, Offers, why_of
from ordersaga.conformance.stage import has_dead_letter_name
from ordersaga.conformance.verdicts import Broken, Silent
from ordersaga.conformance.wire import Heard, Sent, compact, number_in, shown
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.settings import Settings
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


@pytest.mark.parametrize(
    "text", ["", "POST", "http://host/path", "mysql://host/db SELECT 1", "FETCH http://host", "PUT shelf"]
)
def test_a_hook_of_no_form_is_refused_with_the_three_forms(text: str) -> None:
    with pytest.raises(WrongHook, match="'run command arguments'"):
        Hook("seed", text)


def test_a_value_is_found_anywhere_in_a_hooks_answer() -> None:
    answer = Answer(200, {"result": {"data": [{"x": 1}, {"orderId": ORDER}]}, "id": 5})
    assert answer.find("orderId", "id") == ORDER
    assert answer.find("productId") is None


async def test_a_command_hook_gets_its_values_quoted_and_may_leave_processes_behind(tmp_path: Path) -> None:
    async with Hooks({"seed": f"run sleep 60 & printf '%s' $name > {tmp_path}/said"}, {}, None) as hooks:
        async with asyncio.timeout(10):
            await hooks.call("seed", {"name": "two words; $(rm -r /nowhere)"})
    assert (tmp_path / "said").read_text() == "two words; $(rm -r /nowhere)"


async def test_a_command_hook_gets_a_list_as_json(tmp_path: Path) -> None:
    async with Hooks({"place": f"run printf '%s' $items > {tmp_path}/said"}, {}, None) as hooks:
        await hooks.call("place", {"items": [{"productId": "키보드's", "quantity": 2}]})
    assert json.loads((tmp_path / "said").read_text()) == [{"productId": "키보드's", "quantity": 2}]


def test_an_sql_hook_gets_a_list_as_a_literal_with_json() -> None:
    assert _literal([{"productId": "it's"}]) == "'[{\"productId\": \"it''s\"}]'"
    assert (_literal(5), _literal("it's")) == ("5", "'it''s'")


async def test_a_hook_or_a_restart_command_that_does_not_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "HOOK_S", 0.05)
    async with Hooks({"seed": "run exec sleep 5"}, {}, "exec sleep 5") as hooks:
        with pytest.raises(HookFailed, match=r"the hook seed did not end within 0\.05 s"):
            await hooks.call("seed", {})
        with pytest.raises(HookFailed, match=r"the restart command did not end within 0\.05 s"):
            await hooks.run_restart()


async def test_a_hook_that_does_not_end_ends_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks_module, "HOOK_S", 0.5)
    async with Hooks({"seed": f"run (sleep 60 & echo $! > {tmp_path}/pid; wait); true"}, {}, None) as hooks:
        with pytest.raises(HookFailed, match="did not end"):
            await hooks.call("seed", {})
    started = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not psutil.pid_exists(started) or psutil.Process(started).status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"process {started} still runs")


async def test_a_hook_that_fails_says_what_came_back() -> None:
    async with Hooks(
        {"seed": "run echo no such shelf; exit 3", "pay": "GET http://127.0.0.1:1/$nothing"}, {}, None
    ) as hooks:
        with pytest.raises(HookFailed, match=r"the hook seed failed: .*exit code 3: no such shelf"):
            await hooks.call("seed", {})
        with pytest.raises(HookFailed, match=r"there is no value \$nothing"):
            await hooks.call("pay", {"orderId": ORDER})


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


def test_a_case_may_take_longer_where_its_waits_or_its_load_are_longer() -> None:
    plan = Plan(PARTS["delivery"], Settings(), {})
    load = Case("load", "", frozenset({"load"}), _nothing)
    assert longest_of(CASES[0], plan) == longest_of(load, plan) == CASE_S_MAX
    patient = replace(plan, limits=Limits(answer_s=600), offers=Offers(load=100_000))
    assert longest_of(CASES[0], patient) >= 10 * 600
    assert longest_of(load, patient) >= 100 * CASE_S_MAX


class _Scene:
    """What the director asks of a scene."""

    sent, notes = (), ()
    later: Any = ()
    came: ClassVar[list[Heard]] = []

    def heard(self) -> list[Heard]:
        return self.came

    async def end(self) -> None:
        pass


async def test_a_case_that_trips_over_an_odd_answer_is_not_judged_and_the_others_are() -> None:
    async def trip(_: object) -> None:
        raise AttributeError("'int' object has no attribute 'get'")

    cases = [Case("odd", "", frozenset(), trip), CASES[0]]
    told = Report("delivery", 0.0, [], [])
    make: Any = _Scene
    director = Director(make, cases, told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {}))
    director._lives = _yes  # type: ignore[method-assign]
    await director.run()
    assert [(each.case.name, each.outcome) for each in told.results] == [
        ("odd", "not judged"),
        ("a happy case", "passed"),
    ]
    assert "'int' object has no attribute 'get'" in told.results[0].said


class _Played(_Scene):
    """A scene that notes whether it is to hurry."""

    def __init__(self, hurried: list["_Played"]) -> None:
        self.later: list[Any] = []
        self.hurried = hurried

    def hurry(self) -> None:
        self.hurried.append(self)


async def test_what_a_slow_record_holds_up_is_laid_to_the_first_case_and_the_others_are_not_played() -> None:
    async def silent(_: object) -> None:
        raise Silent("no record came")

    cases = [Case(f"case {n}", "", frozenset(), silent, "poison") for n in range(5)]
    told, hurried = Report("delivery", 0.0, [], []), list[_Played]()
    make: Any = lambda: _Played(hurried)  # noqa: E731
    director = Director(make, cases, told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {}))
    director._lives = _yes  # type: ignore[method-assign]
    await director.run()
    assert [each.outcome for each in told.results] == ["failed", *["not judged"] * 4]
    assert ["fate of 'case 0'" in each.said for each in told.results] == [False, True, True, True, True]
    assert len(hurried) == 2 and told.results[-1].said.startswith("not played")


async def _yes(behind: Sent | None = None) -> bool:
    return True


async def test_what_a_case_waits_for_at_its_end_does_not_hold_up_the_next_one() -> None:
    second_began = asyncio.Event()

    async def later() -> None:
        await asyncio.wait_for(second_began.wait(), 60)
        raise Broken("no dead letter")

    async def first(scene: Any) -> None:
        scene.later.append(later())

    async def second(_: object) -> None:
        second_began.set()

    plays = {"first": first, "second": second}
    cases = [Case(name, "", frozenset(), play, "poison") for name, play in plays.items()]
    told = Report("delivery", 0.0, [], [])
    make: Any = lambda: _Played([])  # noqa: E731
    await Director(make, cases, told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {})).run()
    assert {each.case.name: each.outcome for each in told.results} == {"first": "failed", "second": "passed"}


async def test_a_result_keeps_the_first_records_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Scene, "came", [heard(compact({"n": n})) for n in range(RECORDS_KEPT_MAX + 3)])
    told = Report("delivery", 0.0, [], [])
    make: Any = _Scene
    await Director(make, CASES[:1], told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {})).run()
    assert (len(told.results[0].heard), told.results[0].more) == (RECORDS_KEPT_MAX, 3)


def report() -> Report:
    sent = Sent(
        Coordinates("delivery-request-topic", 0, 3),
        ORDER.encode(),
        b'{"memo":"<b>\x01\xff"}',
        (("h", None),),
        1.0,
        "spoilt",
    )
    failed = Result(
        CASES[1], "failed", "no record <came>", 2.5, [sent], [heard(compact({"orderId": ORDER}))], ["a note"]
    )
    return Report("delivery", 0.0, [Result(CASES[0], "passed", "", 0.1), failed], ["the run's note"], 3.0)


def test_a_failed_case_tells_the_promise_what_happened_and_the_records() -> None:
    lines = "\n".join(explanation(report().results[1]))
    for part in ("guide, step 2", "no record <came>", "delivery-request-topic/0/3", "spoilt", ORDER, "a note"):
        assert part in lines
    assert summary(report()) == "delivery: 1 passed, 1 failed, in 3.0 s"


def test_the_junit_xml_can_be_parsed_whatever_a_record_contains() -> None:
    suite = ElementTree.fromstring(junit(report()))[0]
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("2", "1", "0")
    assert [len(case) for case in suite] == [0, 1]
    assert "no record <came>" in (suite[1][0].text or "")


def test_the_html_report_needs_nothing_else_and_escapes_what_records_contain() -> None:
    page = html(report())
    assert "&lt;b&gt;" in page and "<b>\x01" not in page and "no record &lt;came&gt;" in page
    assert not re.search(r"""(?:src|href)=|url\(|<script""", page)


def test_the_page_begins_with_what_failed_or_was_not_judged() -> None:
    outcomes: list[Outcome] = ["passed", "not judged", "skipped", "failed"]
    results = [Result(Case(f"case {each}", "", frozenset(), _nothing), each, "", 0.0) for each in outcomes]
    page = html(Report("delivery", 0.0, results, []))
    assert re.findall(r"<b>case (.*?)</b>", page) == ["failed", "not judged", "passed", "skipped"]


def test_the_html_report_counts_the_records_that_it_leaves_out() -> None:
    result = Result(CASES[0], "failed", "", 0.1, (), [heard(compact({"n": 1}))], more=3)
    assert "and 3 more records" in html(Report("delivery", 0.0, [result], []))
    assert any("3 more records" in line for line in explanation(result))


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


def test_a_failure_of_what_the_guide_does_not_ask_names_the_option_that_leaves_it_out() -> None:
    case = Case("a refund", "compensation: ...", frozenset({"compensation"}), _nothing)
    assert "--without compensation" in explanation(Result(case, "failed", "x", 0.0))[-1]


def test_control_characters_of_a_record_are_shown_as_escapes() -> None:
    assert shown(b'\x00\x05 \x1b[2J\x7f \xc2\x9b {"name":\n"\xea\xb9\x80"} \xff') == (
        '\\x00\\x05 \\x1b[2J\\x7f \\x9b {"name":\n"김"} \\xff'
    )
