"""What a run found, as a table, as JUnit XML and as one HTML file that needs nothing else."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import jinja2
from rich.markup import escape
from rich.table import Table

from ordersaga.conformance.run import Report, Result
from ordersaga.conformance.verdicts import COMPENSATION
from ordersaga.conformance.wire import Heard, Sent, shown

OPTIONAL: Final = frozenset({COMPENSATION, "payable", "one-payment", "gateway-faults", "whole-order"})
"""What the guide does not ask of a service."""
STYLES: Final = {"passed": "green", "failed": "bold red", "skipped": "dim", "not judged": "bold yellow"}
VALUE_CHARS_MAX: Final = 2_000
_not_in_xml: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_templates: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)


def table(report: Report) -> Table:
    """A row for each case."""
    rows = Table("case", "s", "", "promise")
    for each in report.results:
        rows.add_row(
            escape(each.case.name),
            f"{each.took_s:.1f}",
            f"[{STYLES[each.outcome]}]{each.outcome}[/]",
            escape(each.case.promise),
        )
    return rows


def explanation(result: Result) -> list[str]:
    """A case that did not pass, line by line: what is promised, what happened, and the records."""
    lines = [
        f"{result.outcome}: {result.case.name}",
        f"  promised  {result.case.promise}",
        f"  happened  {result.said}",
    ]
    lines += [f"  sent      {_sent_line(each)}" for each in result.sent]
    lines += [f"  came      {_heard_line(each)}" for each in result.heard]
    lines += [f"  and       {result.more:,} more records"] if result.more else []
    lines += [f"  note      {note}" for note in result.notes]
    for tag in sorted(result.case.tags & OPTIONAL) if result.outcome == "failed" else []:
        lines.append(f"  option    --without {tag}, if the service is not meant to have it")
    return lines


def summary(report: Report) -> str:
    """One line with the outcomes."""
    counts = ", ".join(f"{count} {outcome}" for outcome in STYLES if (count := report.count(outcome)))  # type: ignore[arg-type]
    return f"{report.role}: {counts or 'no cases'}, in {report.took_s:.1f} s"


def _sent_line(sent: Sent) -> str:
    note = f"  ({sent.note})" if sent.note else ""
    return f"{sent.place}  key {shown(sent.key, 60)}  {shown(sent.value)}{note}"


def _heard_line(heard: Heard) -> str:
    return f"{heard.record.coordinates}  key {shown(heard.record.key, 60)}  {shown(heard.record.value)}"


def junit(report: Report) -> bytes:
    """The report as JUnit XML, for a CI server."""
    suite = ElementTree.Element(
        "testsuite",
        name=f"ordersaga conform {report.role}",
        tests=str(len(report.results)),
        failures=str(report.count("failed")),
        errors=str(report.count("not judged")),
        skipped=str(report.count("skipped")),
        time=f"{report.took_s:.3f}",
        timestamp=datetime.fromtimestamp(report.began_at, UTC).isoformat(timespec="seconds"),
    )
    for each in report.results:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"ordersaga.conform.{report.role}",
            name=each.case.name,
            time=f"{each.took_s:.3f}",
        )
        kind = {"failed": "failure", "not judged": "error", "skipped": "skipped"}.get(each.outcome)
        if kind is not None:
            outcome = ElementTree.SubElement(case, kind, message=_xml_text(each.said))
            outcome.text = _xml_text("\n".join(explanation(each)))
        elif each.notes:
            ElementTree.SubElement(case, "system-out").text = _xml_text("\n".join(each.notes))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    written: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return written


def _xml_text(text: str) -> str:
    return _not_in_xml.sub("\ufffd", text)


def html(report: Report) -> str:
    """The report as a page with what was sent and what came back, case by case, those that failed or were not judged first."""
    results = sorted(report.results, key=lambda each: (each.outcome != "failed", each.outcome != "not judged"))
    return _templates.get_template("report.html").render(
        report=report,
        summary=summary(report),
        at=datetime.fromtimestamp(report.began_at, UTC).isoformat(sep=" ", timespec="seconds"),
        cases=[_case(each) for each in results],
    )


def _case(result: Result) -> dict[str, Any]:
    return {
        "name": result.case.name,
        "promise": result.case.promise,
        "tags": sorted(result.case.tags),
        "outcome": result.outcome,
        "said": result.said,
        "took": f"{result.took_s:.1f} s",
        "notes": result.notes,
        "records": _records(result),
        "more": result.more,
    }


def _records(result: Result) -> list[dict[str, str]]:
    """What was sent and what came, in the order of time."""
    rows = [(each.at_s, "sent", str(each.place), each.key, each.value, each.headers, each.note) for each in result.sent]
    rows += [
        (
            each.at_s,
            "came",
            str(each.record.coordinates),
            each.record.key,
            each.record.value,
            each.record.headers or (),
            "",
        )
        for each in result.heard
    ]
    rows.sort(key=lambda row: row[0])
    began = rows[0][0] if rows else 0.0
    return [
        {
            "at": f"{(at_s - began) * 1000:,.0f} ms",
            "way": way,
            "place": place,
            "key": shown(key, 200),
            "value": shown(value, VALUE_CHARS_MAX),
            "headers": "\n".join(f"{name}: {shown(header, 300)}" for name, header in headers),
            "note": note,
        }
        for at_s, way, place, key, value, headers, note in rows
    ]
