"""The chart without Helm: which values its schema refuses, and whether what was rendered is what our commands, settings and image take."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import promql_parser as promql
import pytest
import typer.main
import yaml
from jsonschema import Draft7Validator
from typer.core import TyperGroup

from ordersaga import __version__
from ordersaga.cli.main import commands
from ordersaga.http.server import DRAIN_S
from ordersaga.settings import HTTP_PORTS, SERVICES, Settings
from tests.deploy.chart import ALERTS, CHART, MSK, REFUSED, RENDERED, ROOT, examples, head

SCHEMA = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
BY_SCHEMA = {changes: place for changes, place in REFUSED.items() if place.startswith("/")}
SECRETS = "/run/secrets/ordersaga/"
URL = "postgresql://{}@postgres/{}?sslmode=verify-full"
OF_THEIR_OWN = {"settings", "resources", "podAnnotations", "nodeSelector", "monitoringLabels", "affinity"}
BY_BROWSERS = {"ORDERSAGA_WEB_URL", "ORDERSAGA_WEB_CHECKOUT_URL", "ORDERSAGA_JWT_ISSUER"}
EXAMPLES = [each.name for each in examples()]


def values(example: str, changes: tuple[str, ...] = ()) -> dict[str, Any]:
    """The chart's values with those of an example over them, and then single ones, written as for `helm --set`."""
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    _lay_over(found, yaml.safe_load((CHART / "examples" / example).read_text()))
    for path, _, value in (each.partition("=") for each in changes):
        one: Any = re.findall(r"[^{},]+", value) if value.startswith("{") else yaml.safe_load(value) if value else ""
        for name in reversed(path.split(".")):
            one = {name: one}
        _lay_over(found, one)
    return found


def _lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            below[name] = dict(below[name])  # an anchor is one object for several services
            _lay_over(below[name], value)
        else:
            below[name] = value


@cache
def rendered(example: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((RENDERED / example).read_text()) if each]


def pods(example: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The component, its pod and each container of it."""
    for each in rendered(example):
        if each["kind"] in ("Deployment", "Job"):
            pod = each["spec"]["template"]
            for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
                yield pod["metadata"]["labels"]["app.kubernetes.io/component"], pod["spec"], container


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_is_rendered_is_the_chart_of_today(example: str) -> None:
    assert (RENDERED / example).read_text().startswith(head()), "the chart has changed: run make check-deploy"


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_values_of_an_example_are_taken(example: str) -> None:
    assert [error.message for error in SCHEMA.iter_errors(values(example))] == []


@pytest.mark.parametrize("changes", BY_SCHEMA, ids=" ".join)
def test_values_that_cannot_work_are_refused_by_their_name(changes: tuple[str, ...]) -> None:
    assert BY_SCHEMA[changes] in [
        "/" + "/".join(map(str, each.absolute_path)) for each in SCHEMA.iter_errors(values(MSK, changes))
    ]


def test_every_value_is_in_the_schema_and_every_property_of_the_schema_is_a_value() -> None:
    def names(schema: dict[str, Any], at: str = "") -> Iterator[str]:
        for name, one in schema.get("properties", {}).items():
            yield f"{at}{name}"
            yield from names(one, f"{at}{name}.")

    def given(found: dict[str, Any], at: str = "") -> Iterator[str]:
        for name, one in found.items():
            yield f"{at}{name}"
            if isinstance(one, dict) and name not in OF_THEIR_OWN:
                yield from given(one, f"{at}{name}.")

    assert set(names(SCHEMA.schema)) - {"global"} == set(given(yaml.safe_load((CHART / "values.yaml").read_text())))


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_container_runs_a_command_that_we_have(example: str) -> None:
    every: Any = typer.main.get_command(commands())
    for _, _, container in pods(example):
        command: Any = every
        rest = list(container["args"])
        while isinstance(command, TyperGroup):
            _, command, rest = command.resolve_command(command.context_class(command), rest)
        command.make_context(None, rest)  # raises for an argument that it does not take


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_container_has_settings_that_a_service_takes_and_the_secrets_that_they_name(
    example: str, tmp_path: Path
) -> None:
    for component, pod, container in pods(example):
        environment = _settings(container)
        mounted = _mounted(pod)
        for name, value in environment.items():
            setting = name.removeprefix("ORDERSAGA_").removesuffix("_FILE").lower()
            assert setting in Settings.model_fields, f"{name} is no setting"
            if name.endswith("_FILE") or value.startswith(SECRETS):
                assert value.removeprefix(SECRETS) in mounted, f"{name} names a file that {component} does not have"
                file = tmp_path / name
                service = setting.removesuffix("_database_url")
                file.write_text(
                    URL.format(service, service) if service != setting else "live_value_of_a_secret_of_32_bytes"
                )
                environment[name] = str(file)
        found = Settings.of(environment)
        assert found.unsafe_to_serve(component) is None
        assert component not in HTTP_PORTS or found.operations_port not in (None, found.port(component))
        assert set(mounted) == {each.removeprefix(SECRETS) for each in _secrets(container)}, (
            f"{component} has a secret that it does not use"
        )


def _mounted(pod: dict[str, Any]) -> list[str]:
    [volume] = [each["projected"] for each in pod["volumes"] if each["name"] == "secrets"]
    return [item["path"] for source in volume["sources"] for item in source["secret"]["items"]]


def _values(container: dict[str, Any]) -> dict[str, str]:
    """The container's environment but for what comes from Secrets."""
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def _settings(container: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in _values(container).items() if name.startswith("ORDERSAGA_")}


def _secrets(container: dict[str, Any]) -> Iterator[str]:
    yield from (each for each in _values(container).values() if each.startswith(SECRETS))


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_names_another_object_names_one_that_is_there(example: str) -> None:
    every = rendered(example)
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in every
        if each["kind"] in ("Deployment", "Job")
    }
    authentications = {each["metadata"]["name"] for each in every if each["kind"] == "TriggerAuthentication"}
    for each in every:
        spec = each.get("spec", {})
        if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            selector = spec.get("podSelector") or spec["selector"]
            selected = selector.get("matchLabels", selector)
            assert [name for name, found in labels.items() if selected.items() <= found.items()] == [
                each["metadata"]["name"]
            ]
        if each["kind"] == "ScaledObject":
            assert spec["scaleTargetRef"]["name"] in labels
            assert {trigger["authenticationRef"]["name"] for trigger in spec["triggers"]} <= authentications
            server = each["metadata"]["labels"]["app.kubernetes.io/component"]
            assert spec["triggers"][0]["metadata"]["consumerGroup"] == Settings.of({}).group(server)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_service_listens_where_it_is_called_and_probed(example: str) -> None:
    for component, _, container in pods(example):
        if component not in HTTP_PORTS:
            continue
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        environment = _settings(container)
        assert ports == {"http": HTTP_PORTS[component], "operations": int(environment["ORDERSAGA_OPERATIONS_PORT"])}
        assert {
            container[each]["httpGet"]["port"] for each in ("startupProbe", "readinessProbe", "livenessProbe")
        } <= set(ports)


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_address_that_a_container_is_given_is_a_service_with_that_port(example: str) -> None:
    served = {
        f"http://{each['metadata']['name']}{'' if port['port'] == 80 else ':' + str(port['port'])}"
        for each in rendered(example)
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    for component, _, container in pods(example):
        given = re.findall(r'http://shop-[^" ]+', " ".join(_values(container).values()))
        assert set(given) <= served, component
        assert given or component != "web"


@pytest.mark.parametrize("example", EXAMPLES)
def test_pods_run_as_the_user_of_the_image_and_may_write_to_tmp_alone(example: str) -> None:
    [user] = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    for _, pod, container in pods(example):
        assert (str(pod["securityContext"]["runAsUser"]), str(pod["securityContext"]["runAsGroup"])) == user
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")] == ["/tmp"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_requests_that_a_pod_forwards_count_for_its_visitors(example: str) -> None:
    for component, _, container in pods(example):
        addresses = {"ORDERSAGA_HTTP_PROXY_ADDRESSES": _settings(container)["ORDERSAGA_HTTP_PROXY_ADDRESSES"]}
        assert Settings.of(addresses).proxy_networks, component


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_pod_reaches_each_address_of_its_settings(example: str) -> None:
    """Those of other systems, by their ports: the policies name no destination."""
    allowed = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: {
            port["port"] for rule in each["spec"]["egress"] for port in rule.get("ports", [])
        }
        for each in rendered(example)
        if each["kind"] == "NetworkPolicy"
    }
    for component, _, container in pods(example):
        if component == "migrate":  # calls nothing but Kafka and PostgreSQL
            continue
        settings = _settings(container)
        called = [value for name, value in settings.items() if name not in BY_BROWSERS and value.startswith("http")]
        elsewhere = [urlsplit(each) for each in called if not each.startswith("http://shop-")]
        wanted = {each.port or {"http": 80, "https": 443}[each.scheme] for each in elsewhere}
        assert wanted <= allowed[component], component
        assert wanted or component != "payment"


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_pod_has_the_time_that_its_end_takes(example: str) -> None:
    for component, pod, container in pods(example):
        if component in HTTP_PORTS:
            before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pod["terminationGracePeriodSeconds"] >= before_s + 2 * DRAIN_S + 10  # its requests, its turns


def test_the_chart_deploys_the_release_that_it_came_with() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__


def _alerts(example: str) -> list[dict[str, Any]]:
    rules = [each["spec"]["groups"] for each in rendered(example) if each["kind"] == "PrometheusRule"]
    return [rule for groups in rules for group in groups for rule in group["rules"]]


def test_the_alerts_of_the_chart_are_those_of_prometheus() -> None:
    alerts = ALERTS.read_text()
    assert (CHART / ALERTS.name).read_text() == alerts, "make check-deploy copies them"
    expected = [rule for group in yaml.safe_load(alerts)["groups"] for rule in group["rules"]]
    found = _alerts("strimzi.yaml")
    assert [each["alert"] for each in found] == [each["alert"] for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours | {"expr": ""} == theirs | {"expr": ""}
        plain = re.sub(r'\{namespace="default"\}|namespace="default",', "", " ".join(ours["expr"].split()))
        assert plain == " ".join(theirs["expr"].split()) or ours["alert"] == "OrdersagaServiceMissing"


def test_the_alerts_of_the_chart_are_about_what_it_deploys_in_its_namespace() -> None:
    by_name = {each["alert"]: each["expr"] for each in _alerts("strimzi.yaml")}
    deployed = [name for name in SERVICES if name != "stock"]  # another team runs it
    absent = [f'absent(ordersaga_build_info{{namespace="default",job="{name}"}})' for name in deployed]
    assert sorted(by_name["OrdersagaServiceMissing"].split(" or ")) == sorted(absent)
    for expression in by_name.values():
        assert promql.parse(expression)
        metrics = re.findall(r"\b(?:up|ordersaga_\w+)\b.?", expression)
        assert metrics and all(each.endswith("{") for each in metrics), expression
        assert expression.count('{namespace="default"') == len(metrics), "another release's load would hide our errors"


def test_the_prometheus_operator_finds_what_it_is_given_by_its_labels() -> None:
    for each in rendered("strimzi.yaml"):
        if each["apiVersion"].startswith("monitoring.coreos.com"):
            assert each["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert not _alerts(MSK), "without the operator its kinds are unknown, and Helm would refuse the chart"
