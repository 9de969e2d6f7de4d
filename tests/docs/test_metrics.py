"""Pages, alerts and dashboards name metrics that there are, with labels that they have; each alert has its section of what to do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from tests.docs.metrics_page import document, metrics

ROOT = Path(__file__).parents[2]
RULES, DASHBOARDS, RUNBOOK = ROOT / "deploy/prometheus/alerts.yml", ROOT / "deploy/grafana", ROOT / "docs/alerts.md"
OF_CLIENT = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
OF_TARGET = {"job", "instance", "worker", "__name__"}
"""Labels that Prometheus adds, or a service with several workers."""
LABELS = {
    name: {*each.labels, *({"le"} if name.endswith("_bucket") else ())} for each in metrics() for name in each.names
}
LABELS |= {name: set() for name in ("up", *OF_CLIENT)}
KINDS = {name: each.kind for each in metrics() for name in each.names}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"].replace("$__rate_interval", "5m")


ALL = list(expressions())


def parts(expression: Any) -> Iterator[Any]:
    """An expression and all that is in it."""
    yield expression
    for name in ("expr", "lhs", "rhs", "vector_selector", "args"):
        inner = getattr(expression, name, None)
        for each in inner if isinstance(inner, list) else [inner] if inner is not None else []:
            yield from parts(each)


def selectors(text: str) -> list[promql.VectorSelector]:
    return [each for each in parts(promql.parse(text)) if isinstance(each, promql.VectorSelector)]


@pytest.mark.parametrize(("where", "text"), ALL, ids=[where for where, _ in ALL])
def test_an_expression_is_one_and_its_metrics_have_their_labels(where: str, text: str) -> None:
    found = selectors(text)
    assert found
    for each in found:
        assert each.name in LABELS, f"{where}: there is no {each.name}"
        asked = {matcher.name for matcher in each.matchers.matchers}
        assert asked <= LABELS[each.name] | OF_TARGET, (
            f"{where}: {each.name} has no {asked - LABELS[each.name] - OF_TARGET}"
        )
    known = OF_TARGET.union(*(LABELS[each.name] for each in found if each.name))
    for part in parts(promql.parse(text)):
        if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
            assert set(part.modifier.labels) <= known, where


@pytest.mark.parametrize(("where", "text"), ALL, ids=[where for where, _ in ALL])
def test_a_rate_is_taken_of_what_only_grows(where: str, text: str) -> None:
    for part in parts(promql.parse(text)):
        if isinstance(part, promql.Call) and part.func.name == "rate":
            name = part.args[0].vector_selector.name
            assert name in OF_CLIENT or KINDS[name] in ("counter", "histogram"), where


def test_what_is_of_the_service_is_not_added_up_over_its_processes() -> None:
    of_service = {each.name for each in metrics() if each.of == "service"}
    for where, text in ALL:
        for part in parts(promql.parse(text)):
            if isinstance(part, promql.AggregateExpr) and isinstance(part.expr, promql.VectorSelector):
                assert part.expr.name not in of_service or str(part.op) == "max", where


def test_each_alert_has_a_section_of_what_to_do() -> None:
    named = [rule["alert"] for rule in rules()]
    assert re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE) == named
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"


def alarms() -> set[str]:
    """The name of each alarm that the code raises, by a constant of the same module or as it is."""
    found = set()
    for path in sorted((ROOT / "src/ordersaga").rglob("*.py")):
        source = path.read_text()
        constants = dict(re.findall(r'^([A-Z_]+): Final = "(.+)"$', source, re.MULTILINE))
        for name in re.findall(r"(?:alarms\.tell|alarms\.only|self\._raise)\(\s*([\w\" ]+)", source):
            if name.startswith('"') or name in constants:
                found.add(constants.get(name, name.strip('"')))
    return found


def test_each_alarm_is_explained_or_has_a_rule_of_its_own() -> None:
    [rule] = [each["expr"] for each in rules() if each["alert"] == "OrdersagaAlarm"]
    left_out = set(re.findall(r'alarm!~"([^"]+)"', rule)[0].split("|"))
    section = RUNBOOK.read_text().split("## OrdersagaAlarm\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    explained = {name for row in rows for name in re.findall("`(.+?)`", row)}
    assert alarms() == explained | left_out
    assert not explained & left_out


def test_the_page_is_that_of_the_code() -> None:
    written = (ROOT / "docs/metrics.md").read_text()
    assert written == document(), "docs/metrics.md is not what the code says: `make metrics` writes it again"


def test_each_metric_that_the_runbook_names_is_one() -> None:
    for name in re.findall(r"ordersaga_\w+", RUNBOOK.read_text()):
        assert name in LABELS or f"{name}_count" in LABELS, name


def test_each_metric_is_on_a_dashboard_or_in_a_rule() -> None:
    used = {selector.name for _, text in ALL for selector in selectors(text)}
    of_retention = {"ordersaga_pruned_rows_total", "ordersaga_personal_data_cleared_total"}
    assert [each.name for each in metrics() if not each.names & used and each.name not in of_retention] == []
