"""What services say with a code: each code has its text in both languages, and a page says it by the code, never by its English."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import UUID

import pytest

import ordersaga
from ordersaga.cli.letters import letter_as_json, print_rehearsed
from ordersaga.cli.operating import say_json
from ordersaga.contracts.answers import NO_PRODUCT, SHORT, understood, words
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.letters import Letter
from ordersaga.messaging.rehearsal import Effect
from ordersaga.messaging.texts import SAYINGS_CHARS_MAX, read_sayings, stored_sayings
from ordersaga.operations.ports import OperatorsDesk
from ordersaga.operations.rehearsing import Rehearsed, in_words
from ordersaga.said import Said, Saying, counted, joined, say, sayings_of, words_of
from ordersaga.web.console.sayings import cause_name, told, wrong_words
from ordersaga.web.services import WrongField
from ordersaga.web.signing import Signer
from ordersaga.web.texts import TEXTS, Language
from ordersaga.web.visit import Cart, Session, Visit
from tests.docs.saga_page import walk

LETTER = Letter(
    *(UUID(int=1), "OPEN", "order-created", 0, 7, UUID(int=2), "Rejected", "no", 1, datetime(2026, 7, 1, tzinfo=UTC)),
    *(None, None, None, None, '[{"code": "letter.null", "values": {}}]'),
)
NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
HANGUL = re.compile("[가-힣]")


def visit(language: Language) -> Visit:
    return Visit(language, Session(), Cart(), "/console", Signer(b"key"), {})


def said_in_the_code() -> Iterator[tuple[str, str | None]]:
    """Each code with its English, from every call that makes a saying; None for a text that is put together elsewhere."""
    for path in Path(ordersaga.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("say", "progress", "Sentence")
            ):
                code, text = [*node.args, None, None][:2]
                if isinstance(code, ast.Constant) and isinstance(code.value, str) and text is not None:
                    yield code.value, str(text.value) if isinstance(text, ast.Constant) else None


SAID = dict(said_in_the_code())


def test_each_code_has_one_english_text_which_the_catalogue_repeats_and_a_korean_one() -> None:
    assert len(SAID) > 200
    by_code: dict[str, set[str | None]] = {}
    for code, text in said_in_the_code():
        by_code.setdefault(code, set()).add(text)
    for code, texts in by_code.items():
        assert texts == {TEXTS["en"].get(f"said.{code}")}, code
        korean = TEXTS["ko"][f"said.{code}"]
        assert HANGUL.search(korean) or not re.search("[a-z]{2}", re.sub(r"\{\w+\}", "", korean)), code


def test_the_catalogue_has_no_text_that_nobody_says() -> None:
    known = {key.removeprefix("said.") for key in TEXTS["en"] if key.startswith("said.")}
    assert {each for each in known if not each.startswith("value.")} == SAID.keys()


def test_a_text_keeps_its_sayings_when_others_are_added_to_it() -> None:
    late = say("audit.parked.late", ", which was to be tried {age} ago and was not", age=timedelta(seconds=300))
    what = "stock: " + say("audit.parked.queue", "{count} behind and with {place}", count=2, place="t/0/1") + late
    assert what == "stock: 2 behind and with t/0/1, which was to be tried 5 minutes ago and was not"
    assert [each.code for each in sayings_of(what)] == ["audit.parked.queue", "audit.parked.late"]
    assert sayings_of(what)[1].values == {"age": "PT300S"}
    assert type(str(what)) is str and sayings_of(str(what)) == ()
    assert sayings_of(joined("; ", [what, "plain"])) == sayings_of(what) and not isinstance(joined("; ", ["a"]), Said)


def test_a_noun_agrees_with_its_number_in_the_text_and_on_the_page() -> None:
    text = SAID["alarm.parked"] or ""
    one, two = (say("alarm.parked", text, count=count) for count in (1, 2))
    assert one == "1 record is parked: its handling failed, or it waits behind such a record"
    assert two == "2 records are parked: their handling failed, or they wait behind such a record"
    assert [str(told(visit("en"), each, each.sayings)) for each in (one, two)] == [str(one), str(two)]
    assert "1건" in told(visit("ko"), one, one.sayings)
    assert [counted(each, "letter") for each in (0, 1, 1200)] == ["0 letters", "1 letter", "1,200 letters"]
    assert [counted(each, "thing is", "things are") for each in (1, 2)] == ["1 thing is", "2 things are"]


def test_an_error_gives_its_sayings_on() -> None:
    assert sayings_of(words_of(ValueError(say("letter.no_order", "no order has this id"))))[0].code == "letter.no_order"
    assert words_of(ValueError("a", 1)) == "('a', 1)"


def test_an_alarm_carries_its_codes_and_plain_texts() -> None:
    alarms = Alarms(lambda: NOW)
    alarms.tell("parked", "", Trouble(say("alarm.parked", "{count} are parked", count=3), "look"))
    (alarm,) = alarms.now()
    assert alarm.what_said == (Saying("alarm.parked", {"count": "3"}),) and alarm.todo_said == ()
    assert type(alarm.what) is str and alarm.what == "3 are parked"


def test_sayings_go_through_a_column_without_secrets_and_without_breaking_on_what_a_newer_version_writes() -> None:
    text = say("alarm.loop", "{loop} fails: {error}", loop="x", error="postgres://u:secret@host/db\0")
    stored = stored_sayings(text)
    assert stored is not None and "secret" not in stored and "\0" not in stored
    assert read_sayings(stored)[0].code == "alarm.loop"
    assert stored_sayings("plain") is None and stored_sayings(None) is None
    assert stored_sayings(say("alarm.loop", "{loop}{error}", loop="", error="x" * SAYINGS_CHARS_MAX)) is None
    assert read_sayings('[{"strange": 1}]') == [] and read_sayings(None) == []


@pytest.mark.parametrize("code", sorted(SAID))
def test_each_saying_is_told_in_both_languages(code: str) -> None:
    names = re.findall(r"\{(\w+)\}", SAID[code] or "")
    text = say(code, SAID[code] or "", **{name: f"<{name}>" for name in names})
    for language in TEXTS:
        page = told(visit(language), text, text.sayings)
        assert 'lang="en"' not in page and "{" not in page and "`" not in page, page
        assert all(f"&lt;{name}&gt;" in page for name in names), page


def test_values_are_told_in_the_language_too() -> None:
    text = "order: " + say(
        "audit.published.waiting",
        "{count} records for {topic}, the oldest {age} old",
        count=2,
        topic="t-1",
        age=timedelta(hours=3),
    )
    assert told(visit("en"), text, text.sayings) == ('2 records for <code class="wrap">t-1</code>, the oldest 3 h old')
    assert told(visit("ko"), text, text.sayings) == (
        '<code class="wrap">t-1</code>의 레코드 2건이 기다리며, 가장 오래된 것은 3시간 되었습니다.'
    )
    held = say(
        "audit.completed.stock", "Stock holds {held}, and the order has {wanted}", held="nothing", wanted="2 x p"
    )
    assert "없음" in told(visit("ko"), held, held.sayings)


def test_amounts_in_korean_are_written_as_people_write_them() -> None:
    held = say("order.still_held", "{left} of {amount} won are still held", left=1500, amount=24000)
    assert told(visit("ko"), held, held.sayings) == "24,000원 중 1,500원이 아직 남아 있습니다."
    assert told(visit("en"), held, held.sayings) == "1500 of 24000 won are still held"


def test_a_command_is_code_as_a_whole() -> None:
    todo = say("todo.topic_again", "to handle the new topic from its start, run `{command}`", command="do <it>")
    assert told(visit("en"), todo, todo.sayings).endswith("run <code>do &lt;it&gt;</code>")


def test_what_has_no_code_that_is_known_here_is_told_in_the_services_own_words() -> None:
    for sayings in ((), (Saying("alarm.of_tomorrow"),), (Saying("alarm.parked", {"strange": "1"}),)):
        assert told(visit("ko"), "a <b> & c", sayings) == '<code class="wrap" lang="en">a &lt;b&gt; &amp; c</code>'
        assert told(visit("en"), "a <b> & c", sayings) == "a &lt;b&gt; &amp; c"
    assert told(visit("ko"), None) == ""


def test_a_wrong_field_and_a_cause_are_told_by_their_codes() -> None:
    wrong = WrongField("reason", "must be at most 500 characters", "too_long")
    assert wrong_words(visit("en"), wrong) == "must be at most 500 characters"
    assert wrong_words(visit("ko"), wrong) == "너무 깁니다."
    assert cause_name(visit("ko"), "Undecodable") == "해독할 수 없음"
    assert (
        cause_name(visit("ko"), "com.example.Broken") == "com.example.Broken" and cause_name(visit("en"), None) == "?"
    )


def test_a_command_prints_the_english_alone(capsys: pytest.CaptureFixture[str]) -> None:
    effect = Effect("Undecodable: " + say("letter.null", "the value is null"))
    told = [(cast(OperatorsDesk, SimpleNamespace(service="stock")), Rehearsed(LETTER, in_words(effect), effect))]
    print_rehearsed(told, as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert line["would"] == "fails again: Undecodable: the value is null" and line["problem"].endswith("is null")
    say_json(**letter_as_json(told[0][0], LETTER))
    assert "said" not in json.loads(capsys.readouterr().out)


def test_a_sentence_of_which_only_the_english_was_kept_is_read_back_into_its_code() -> None:
    short = SHORT(product=UUID(int=7), asked=5, available=3)
    assert type(short) is str and short == f"product {UUID(int=7)}: asked for 5, available 3"
    values = {"product": str(UUID(int=7)), "asked": "5", "available": "3"}
    assert sayings_of(understood(short)) == (Saying("answer.short", values),)
    two = understood(f"{short}; {NO_PRODUCT(product='p')}")
    assert two == f"{short}; there is no product p"
    assert [each.code for each in sayings_of(two)] == ["answer.short", "answer.no_product"]
    coded = understood("EXCEEDS_BALANCE: 500 won are still held")
    assert [each.code for each in sayings_of(coded)] == ["answer.code", "answer.still_held"]
    for other in ("Not enough stock", "OTHER: no money", f"{short}; sorry", ""):
        assert type(understood(other)) is str and understood(other) == other
    assert words("Not enough").sayings == (Saying("answer.words", {"words": "Not enough"}),) and words(None) == "None"


def test_what_an_order_says_of_itself_has_codes_in_its_facts_and_in_its_timeline() -> None:
    """Each note, detail and flag: a text without a code is the operator's or another team's."""
    for step in walk(products=1, keys=1):
        facts, note = step.after.facts, step.decision.note
        assert bool(step.after.detail) == bool(facts.detail_said), step.after.detail
        assert bool(facts.flag) == bool(facts.flag_said) or step.before.facts.flag == facts.flag, facts.flag
        assert type(facts.flag) in (str, type(None)) and type(step.after.detail) in (str, type(None))
        assert note is None or sayings_of(note), note
