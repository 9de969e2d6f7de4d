"""What services say, in the language of the page: by the codes of their sentences, and in their own English where a code is not known here."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup, escape

from ordersaga.said import Saying, inflected
from ordersaga.web.console.ages import duration
from ordersaga.web.console.staff import NAMES
from ordersaga.web.services import WrongField
from ordersaga.web.visit import Visit

CATALOGUES: Final = ("said", "console")
"""Where a code has its text: among the sentences of services, or, as the invariants of the audit, among the console's own texts."""
PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
LENGTH: Final = re.compile(r"PT([0-9]{1,9})S")
SAYS_MORE: Final = ("invalid", "out_of_range", "mismatch")
"""What is wrong with a field is then said by its message alone."""
MOMENT: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2})")
WON: Final = "원"
"""Behind an amount in Korean, which is then written as people write amounts."""
NUMBER: Final = re.compile(r"[0-9][0-9,.]*")


def told(visit: Visit, text: str | None, sayings: Sequence[Saying] = ()) -> Markup:
    """The sentences of a text, or the text. Commands, names and the words of errors, which are the same in each language, are set as code."""
    found = [_text(visit, each) for each in sayings]
    if not found or None in found:
        return _own_words(visit, text or "")
    said = Markup()
    for template, saying in zip(found, sayings, strict=True):
        said += _between(said, template or "") + _filled(visit, template or "", saying)
    return said


def cause_name(visit: Visit, cause: str | None) -> str:
    """The name of a cause that this system itself gives, in words; of any other, which is an error's class, the class."""
    key = f"console.cause.{cause}"
    return visit.t(key) if visit.has(key) else cause or "?"


def reason_name(visit: Visit, reason: str) -> str:
    """Why an order has ended, in words."""
    key = f"console.reason.{reason}"
    return visit.t(key) if visit.has(key) else reason


def state_name(visit: Visit, what: str, state: str) -> str:
    """The state of an order, or of what belongs to it (`stock`, `payment`, …), in words; one that the pages do not know stays as it is."""
    key = f"console.status.{state}" if what == "order" else f"console.states.{what}.{state}"
    return visit.t(key) if visit.has(key) else state


def wrong_words(visit: Visit, wrong: WrongField) -> Markup:
    """What is wrong with a field. English has the service's own words, which also say the limit."""
    key = f"console.wrong.{wrong.code}"
    if visit.language == "en" or not visit.has(key):
        return _own_words(visit, wrong.message)
    words = escape(visit.t(key))
    return words + " " + _own_words(visit, wrong.message) if wrong.code in SAYS_MORE else words


def named(visit: Visit, words: str) -> str:
    """A service's words, in which the demo's staff have names instead of ids."""
    for user_id, name in NAMES.items():
        words = words.replace(user_id, visit.t(f"console.staff.{name}"))
    return words


def _own_words(visit: Visit, text: str) -> Markup:
    words = named(visit, text)
    if visit.language == "en" or not words:
        return escape(words)
    return Markup('<code class="wrap" lang="en">{}</code>').format(words)


def _text(visit: Visit, saying: Saying) -> str | None:
    """The text of a code; None: the code is not known, or a newer service gives other values."""
    key = next((key for each in CATALOGUES if visit.has(key := f"{each}.{saying.code}")), None)
    if key is None:
        return None
    text = inflected(visit.t(key), saying.values)
    return text if saying.values.keys() >= set(PLACEHOLDER.findall(text)) else None


def _between(before: Markup, text: str) -> str:
    """What stands between two sentences. Where one goes on in the middle, its text says how."""
    if not before or before.endswith(" ") or text.startswith((",", ";", ":", " ")):
        return ""
    return " " if before.endswith((".", ":")) else ", "


def _filled(visit: Visit, text: str, saying: Saying) -> Markup:
    """The text with its values. What stands in backticks is code as a whole."""
    filled = Markup()
    for n, part in enumerate(text.split("`")):
        if n % 2:
            filled += Markup("<code>{}</code>").format(PLACEHOLDER.sub(lambda at: saying.values[at[1]], part))
        else:
            filled += Markup().join(_pieces(visit, part, saying))
    return filled


def _pieces(visit: Visit, text: str, saying: Saying) -> Iterator[Markup]:
    parts = PLACEHOLDER.split(text)
    for n, part in enumerate(parts):
        if n % 2 == 0:
            yield escape(part)
        elif (value := saying.values[part]).isdecimal() and parts[n + 1].startswith(WON):
            yield escape(f"{int(value):,}")
        else:
            yield _value(visit, value)


def _value(visit: Visit, value: str) -> Markup:
    if length := LENGTH.fullmatch(value):
        return escape(duration(visit, float(length[1])))
    if visit.has(key := f"said.value.{value}"):
        return escape(visit.t(key))
    if visit.has(key := f"console.service.{value}"):
        return escape(visit.t(key))
    if value in NAMES:
        return escape(visit.t(f"console.staff.{NAMES[value]}"))
    if moment := MOMENT.fullmatch(value):  # in UTC, which the browser shows in its own zone
        return Markup('<time datetime="{}T{}Z">{} UTC</time>').format(moment[1], moment[2], value)
    if NUMBER.fullmatch(value):
        return escape(value)
    return Markup('<code class="wrap">{}</code>').format(value) if value else Markup()
