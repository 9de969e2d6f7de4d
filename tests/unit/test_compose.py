"""What `compose.yaml` mounts is there, and its parts find each other by the names and ports that it gives them."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from ordersaga.settings import HTTP_PORTS

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVED = COMPOSE["services"]
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"


def volumes() -> list[tuple[str, str, str]]:
    """The service, what is mounted and where, of each mount."""
    return [(name, *each.split(":")[:2]) for name, one in SERVED.items() for each in one.get("volumes", [])]


@pytest.mark.parametrize("name, source, target", volumes())
def test_what_is_mounted_is_in_the_repository_or_a_volume(name: str, source: str, target: str) -> None:
    assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


def test_prometheus_asks_each_service_where_it_listens() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    asked = {each["job_name"]: each["static_configs"][0]["targets"] for each in config["scrape_configs"]}
    assert asked == {name: [f"{name}:{port}"] for name, port in HTTP_PORTS.items() if name != "sandbox"}
    assert {urlsplit(f"//{target}").hostname for targets in asked.values() for target in targets} <= set(SERVED)
    for file in config["rule_files"]:
        assert (ROOT / "deploy" / "prometheus" / file).is_file()


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    [source] = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"]
    url = urlsplit(source["url"])
    assert f"127.0.0.1:{url.port}:{url.port}" in SERVED[str(url.hostname)]["ports"]
    [provider] = yaml.safe_load((PROVISIONING / "dashboards" / "ordersaga.yaml").read_text())["providers"]
    assert ("grafana", "./deploy/grafana", provider["options"]["path"]) in volumes()
    home = SERVED["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert json.loads((ROOT / "deploy" / "grafana" / home.removeprefix(provider["options"]["path"] + "/")).read_text())


def test_each_image_has_a_version() -> None:
    for name, each in SERVED.items():
        assert each["image"] == "ordersaga" or re.search(r":v?\d", each["image"]), name
