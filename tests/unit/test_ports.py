"""The ports of services that share a process: each has its own, and a start that would give one to two of them says so."""

import pytest
import typer

from ordersaga.cli.serve import Server, _check_ports
from ordersaga.settings import Settings

ALL = [Server.order, Server.stock, Server.payment, Server.delivery]


def settings(**ports: int) -> Settings:
    return Settings.model_validate({"development": True, **ports})


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ({"http_port": 9_000, "operations_port": 9_001}, "order and stock would both have port 9001"),
        ({"http_port": 9_001, "operations_port": 9_000}, "order and stock would both have port 9001"),
        ({"operations_port": 8_084}, "order and delivery would both have port 8084"),
        ({"http_port": 65_534}, "payment would have port 65536, and the last one is 65535"),
        ({"operations_port": 65_535}, "stock would have port 65536, and the last one is 65535"),
    ],
)
def test_a_port_that_two_would_have_and_one_that_is_none_are_refused(
    ports: dict[str, int], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        _check_ports(ALL, settings(**ports), shared=False)
    assert ended.value.exit_code == 78
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "ports", [{}, {"http_port": 9_000, "operations_port": 9_004}, {"operations_port": 8_085}, {"http_port": 0}]
)
def test_ports_of_their_own_are_taken(ports: dict[str, int]) -> None:
    _check_ports(ALL, settings(**ports), shared=False)


@pytest.mark.parametrize("ports", [{"http_port": 0}, {"operations_port": 0}])
def test_workers_cannot_share_any_free_port(ports: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        _check_ports(ALL, settings(**ports), shared=True)
    assert ended.value.exit_code == 78
    assert "workers share their ports" in " ".join(capsys.readouterr().err.split())
    _check_ports(ALL, settings(http_port=9_000, operations_port=9_004), shared=True)


def test_any_free_port_is_any_free_port_for_each() -> None:
    any_port = settings(http_port=0, operations_port=0)
    found = [(any_port.port(each, place), any_port.operations_port_of(place)) for place, each in enumerate(ALL)]
    assert found == [(0, 0)] * 4
