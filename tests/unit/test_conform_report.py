"""What `ordersaga conform` tells of a run: explanations, JUnit XML, the HTML page."""

import re
from xml.etree import ElementTree

from ordersaga.conformance import Report, Result
from ordersaga.conformance.cases import Case
from ordersaga.conformance.report import explanation, html, junit, summary
from ordersaga.conformance.run import Outcome
from ordersaga.conformance.wire import Sent, compact, shown
from ordersaga.messaging.handler import Coordinates
from tests.unit.test_conform import CASES, ORDER, _nothing, heard


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


def test_a_failure_of_what_the_guide_does_not_ask_names_the_option_that_leaves_it_out() -> None:
    case = Case("a refund", "compensation: ...", frozenset({"compensation"}), _nothing)
    assert "--without compensation" in explanation(Result(case, "failed", "x", 0.0))[-1]


def test_control_characters_of_a_record_are_shown_as_escapes() -> None:
    assert shown(b'\x00\x05 \x1b[2J\x7f \xc2\x9b {"name":\n"\xea\xb9\x80"} \xff') == (
        '\\x00\\x05 \\x1b[2J\\x7f \\x9b {"name":\n"김"} \\xff'
    )
