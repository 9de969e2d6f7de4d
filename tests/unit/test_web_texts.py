"""Two catalogues with the same keys, and no text of a page outside of them."""

import re
import string
from pathlib import Path
from typing import get_args

import pytest

from ordersaga import web
from ordersaga.audit.finding import INVARIANTS, Judgement
from ordersaga.audit.kept import State
from ordersaga.order.commands import PLACED
from ordersaga.order.deadlines import TimePassed
from ordersaga.order.model import DeliveryState, ReturnState, StockState
from ordersaga.order.saga import Command, Priced
from ordersaga.payment.model import PaymentStatus
from ordersaga.stock.model import State as ReservationState
from ordersaga.web.notices import NOT_DONE
from ordersaga.web.texts import TEXTS, local, preferred, won

BY_ITS_SOUND = re.compile(
    r"\{(\w+)\}(이|가|은|는|을|를|과|와|으로|로|라고|이라고)(?![가-힣])|[이은을과와]\([가는를와과]\)|\(으\)로"
)
"""A particle whose form depends on the last sound of the value before it, or both of its forms."""
ENDS_WITH_WON = {"amount"}
TEMPLATES = sorted((Path(web.__file__).parent / "templates").rglob("*.html"))
SHOWN_ATTRIBUTES = ("aria-label", "title", "placeholder", "alt")


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_keys_and_the_same_names_to_fill_in() -> None:
    assert TEXTS["en"].keys() == TEXTS["ko"].keys()
    for key, english in TEXTS["en"].items():
        assert english.strip() and TEXTS["ko"][key].strip(), key
        assert names(english) == names(TEXTS["ko"][key]), key


def test_no_korean_particle_depends_on_a_value_and_each_concept_has_one_word() -> None:
    for key, text in TEXTS["ko"].items():
        found = BY_ITS_SOUND.search(text)
        assert found is None or found[1] in ENDS_WITH_WON, (key, text)
        assert not re.search(r"(?<!데드 )레터|주문 번호|(?<!\{)\bid\b", text), (key, text)


def test_each_line_of_an_orders_story_that_is_no_message_has_words() -> None:
    names = {PLACED, *(each.__name__ for each in (*get_args(Command), Priced, TimePassed))}
    assert {f"console.events.{each}" for each in names} <= TEXTS["ko"].keys()


def test_each_state_of_what_belongs_to_an_order_has_words() -> None:
    states = {
        "stock": (StockState, ReservationState),
        "payment": (PaymentStatus,),
        "delivery": (DeliveryState,),
        "returning": (ReturnState,),
    }
    keys = {
        f"console.states.{what}.{state}"
        for what, all_of in states.items()
        for each in all_of
        for state in get_args(each)
    }
    assert keys <= TEXTS["ko"].keys()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_no_text_of_its_own(template: Path) -> None:
    html = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "", template.read_text(), flags=re.S)
    for attribute, value in re.findall(r'([a-z-]+)="([^"]*)"', html):
        assert attribute not in SHOWN_ATTRIBUTES or not re.search(r"[A-Za-z가-힣]", value), (attribute, value)
    left = re.sub(r"<[^>]*>|&\w+;", "", html)
    assert not re.search(r"[A-Za-z가-힣]{2,}", left), left


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_text_that_a_template_names_exists(template: Path) -> None:
    for key in re.findall(r"\bt\('([a-z_.]+[a-z_])'[,)]", template.read_text()):
        assert key in TEXTS["en"], key


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_no_script_and_no_style_of_its_own(template: Path) -> None:
    """The Content-Security-Policy would block both."""
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! src=)", template.read_text())


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("", "en"),
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("en-GB,en;q=0.9,ko;q=0.8", "en"),
        ("fr", "en"),
        ("fr,ko;q=0.3", "ko"),
        ("ko;q=x", "ko"),
    ],
)
def test_the_browsers_language_is_chosen(wanted: str, language: str) -> None:
    assert preferred(wanted) == language


def test_names_and_amounts_are_written_as_people_write_them() -> None:
    assert local("Cup / 컵", "ko") == "컵" and local("Cup / 컵", "en") == "Cup" and local("Cup", "ko") == "Cup"
    assert won(12_500, "en") == "₩12,500" and won(12_500, "ko") == "12,500원"


def test_every_invariant_and_result_of_the_audit_has_a_text() -> None:
    for code in INVARIANTS:
        assert f"console.audit.invariant.{code}" in TEXTS["en"], code
    for outcome in get_args(Judgement):
        assert f"console.outcome.{outcome}" in TEXTS["en"], outcome
    for state in get_args(State):
        assert f"console.audit.state.{state}" in TEXTS["en"], state


def test_what_was_not_done_is_told_as_a_warning() -> None:
    notices = {key.removeprefix("notice."): text for key, text in TEXTS["en"].items() if key.startswith("notice.")}
    assert notices.keys() >= NOT_DONE
    refused = {
        name for name, text in notices.items() if re.search("Nothing was (?!charged)|cannot|was not taken", text)
    }
    assert refused <= NOT_DONE, refused - NOT_DONE
