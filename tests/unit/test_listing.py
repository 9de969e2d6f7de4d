"""What a search finds: each of its words is a part of the product's name or category, whatever the script, the case and the form of its characters."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.stock.listing import Listing, ListingChange, parts, search, search_text


def finds(typed: str, name: str, category: str | None = None) -> bool:
    """What PostgreSQL decides from the rows."""
    wanted, text = search(typed), search_text(name, category)
    if wanted is None:
        return True
    words = [re.sub(r"\\(.)", r"\1", pattern[1:-1]) for pattern in wanted.patterns]
    return set(wanted.parts) <= set(parts(text)) and all(word in text for word in words)


@pytest.mark.parametrize(
    "typed",
    [
        "키보드",
        "보드",
        "무선",
        "선 키",
        "기계식 무선",
        "키",
        unicodedata.normalize("NFD", "키보드"),
        "KEY",
        "key",
        "ey10",
        "전자",
    ],
)
def test_a_part_of_a_word_is_enough(typed: str) -> None:
    assert finds(typed, "무선 기계식키보드 Key100", "전자제품")


@pytest.mark.parametrize("typed", ["마우스", "키드", "무 식보", "선기", "100key", "드k"])
def test_another_word_finds_nothing(typed: str) -> None:
    assert not finds(typed, "무선 기계식키보드 Key100", "전자제품")


def test_pairs_that_are_there_apart_are_no_word() -> None:
    assert not finds("abcab", "abca bcab")


@pytest.mark.parametrize("typed", ["", " ", "\t\n", "\u3000"])
def test_a_search_without_a_word_finds_all(typed: str) -> None:
    assert search(typed) is None


def test_signs_of_patterns_stand_for_themselves() -> None:
    assert finds("100%", "100% cotton")
    assert not finds("1_0%", "100% cotton")
    assert search("50%_\\") is not None


@given(st.text(min_size=1, max_size=30), st.data())
def test_each_part_of_a_name_finds_it(name: str, data: st.DataObject) -> None:
    folded = search_text(name, None)
    if folded:
        begin = data.draw(st.integers(0, len(folded) - 1))
        end = data.draw(st.integers(begin + 1, len(folded)))
        typed = folded[begin:end]
        if search_text(typed, None) == typed.strip():  # a part of a character that is composed is another text
            assert finds(typed, name)


def test_a_change_keeps_what_it_does_not_name() -> None:
    before = Listing("round", "/cup.svg", "cups")
    assert ListingChange(picture=None).of(before) == Listing("round", None, "cups")
    assert ListingChange(active=False).of(before) == Listing("round", "/cup.svg", "cups", False)
    assert ListingChange().of(before) == before
