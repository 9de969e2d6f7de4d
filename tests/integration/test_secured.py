"""Orders over a Kafka with SCRAM, TLS and ACLs and a PostgreSQL with TLS, each service with the least rights; and what is refused at the start."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Producer

from ordersaga.cli.demo import SCENARIOS
from ordersaga.cli.shop import Shop
from ordersaga.contracts.codec import encode
from ordersaga.contracts.messages import StockRollbackRequestedMessage
from ordersaga.contracts.topics import TOPICS
from ordersaga.doctor.databases import examine
from ordersaga.messaging.admission import Admission
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.kafka import Tap
from ordersaga.settings import SERVICES, Settings
from tests.certificates import Authority
from tests.commands import type_command
from tests.integration.secured_shop import PASSWORD, Acl, SecuredShop, secured_shop

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]

LIMIT_S: Final = 60.0
CANNOT_START: Final = 78
FAILED: Final = "stock-rollback-failed-topic"
CONSUMED: Final = [topic for topic in TOPICS if topic.consumer != "client"]
DECISION: Final = re.compile(
    r"Principal = User:(\S+) is (\w+) operation = (\w+) .* on resource = (\w+):LITERAL:(\S+) for"
)


@pytest.fixture(scope="module")
def shop() -> Iterator[SecuredShop]:
    with secured_shop() as running:
        yield running


def admission_of(variables: dict[str, str], service: str) -> Admission:
    """What a service with these variables asks at its start."""
    return Admission(Settings.of(variables), service, [topic for topic in TOPICS if service in topic.consumers])


async def buy_each(shop: SecuredShop) -> None:
    async with Shop(shop.urls, patience_s=LIMIT_S) as customers:
        await customers.open()
        for scenario in SCENARIOS:
            assert (await customers.buy(scenario)).end == scenario.expected


async def spoil_each_topic(shop: SecuredShop) -> None:
    """Write what no service can read to every topic, and a rollback that Stock cannot do; wait for the dead letters and for Stock's answer.

    This is one transaction. Its end is an offset in each partition that no record has, for which a service looks at the log.
    """
    tap = await Tap.open(
        Settings(kafka_bootstrap_servers=shop.broker.bootstrap_servers),
        [*(topic.dead_letters for topic in CONSUMED), FAILED],
    )
    producer = Producer({"bootstrap.servers": shop.broker.bootstrap_servers, "transactional.id": "another team's"})
    producer.init_transactions(LIMIT_S)
    producer.begin_transaction()
    for topic in CONSUMED:  # with a key: Kafka refuses a record without one on a compacted topic
        producer.produce(topic.name, b"{", b"no id")
    nothing = StockRollbackRequestedMessage(order_id=uuid4(), items=())
    producer.produce("stock-rollback-requested-topic", encode(nothing), str(nothing.order_id).encode())
    producer.commit_transaction(LIMIT_S)
    heard: set[str] = set()
    async with asyncio.timeout(LIMIT_S):
        while len(heard) <= len(CONSUMED):
            heard |= {record.topic for record in await tap.fetch(100, 0.5)}
    await tap.end()


def decisions(shop: SecuredShop, outcome: str) -> set[Acl]:
    """What Kafka has allowed, or denied, by its own log."""
    found = DECISION.finditer(shop.broker.log_path.read_text())
    return {
        Acl(user, what, kind.upper(), name)
        for user, said, what, kind, name in map(re.Match.groups, found)
        if said == outcome
    }


def test_orders_end_as_they_should_and_each_right_is_needed_for_that(shop: SecuredShop) -> None:
    asyncio.run(buy_each(shop))
    assert eventually(lambda: type_command(["verify", "--live", "0"], shop.of_audit()).code == 0)
    asyncio.run(spoil_each_topic(shop))
    services = {f"ordersaga-{service}" for service in SERVICES}
    given = {acl for acl in shop.acls if acl.user in services}
    assert given and eventually(lambda: not given - decisions(shop, "Allowed")), given - decisions(shop, "Allowed")
    assert not decisions(shop, "Denied")
    web = shop.processes["web"].status()
    assert web is not None and (web["status"], web["problems"], web["alarms"]) == ("UP", [], [])


def eventually(found: Callable[[], bool]) -> bool:
    """Whether it becomes true: Kafka and its authorizer hear of a new ACL a moment later."""
    end = time.monotonic() + LIMIT_S
    while not found():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


@pytest.mark.parametrize("service", SERVICES)
def test_each_missing_right_at_kafka_is_named(shop: SecuredShop, service: str) -> None:
    admission = admission_of(shop.of(service), service)
    # Without Describe on the group that nobody joins everything works.
    needed = [acl for acl in shop.acls if acl.user == f"ordersaga-{service}" and acl.operation != "DESCRIBE"]

    def names_exactly(missing: list[Acl]) -> bool:
        said = asyncio.run(admission.lacks_rights())
        if not missing or said is None:
            return not missing and said is None
        named = said.partition(f"what {service} needs: ")[2].partition(";")[0].split(", ")
        return set(named) == {f"{acl.operation.capitalize()} on {acl.kind.lower()} {acl.name}" for acl in missing}

    assert names_exactly([])
    for taken in (needed[::2], needed[1::2]):
        for acl in taken:
            shop.broker.take_back(*acl)
        assert eventually(partial(names_exactly, taken)), taken
        for acl in taken:
            shop.broker.allow(acl.user, acl.operation, acl.kind, [acl.name])
        assert eventually(partial(names_exactly, []))


@pytest.mark.parametrize("service", SERVICES)
def test_a_running_role_changes_rows_of_its_own_database_and_nothing_else(shop: SecuredShop, service: str) -> None:
    role, url = f"ordersaga_{service}", shop.postgres.url
    with psycopg.connect(url(role, PASSWORD, role), autocommit=True) as db:
        for statement in (
            "ALTER TABLE ledger ADD COLUMN more int",
            "DROP TABLE ledger",
            "TRUNCATE ledger",
            "CREATE TABLE more (n int)",
            "CREATE TEMP TABLE more (n int)",
            "CREATE INDEX ON ledger (topic)",
            "DELETE FROM _yoyo_migration",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(statement.encode())
    with psycopg.connect(url("ordersaga_audit", PASSWORD, role), autocommit=True) as db:
        db.execute("SELECT * FROM ledger")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("DELETE FROM ledger")
    for other in (each for each in SERVICES if each != service):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url(role, PASSWORD, f"ordersaga_{other}"))


async def refusal(admission: Admission) -> str | None:
    """What a start says about settings that will never work, in the order in which a service asks."""
    try:
        admission.check_options()
    except CannotStart as error:
        return str(error)
    return await admission.refused_by_database() or await admission.refused_by_kafka() or await admission.lacks_rights()


async def test_what_will_never_work_is_named(shop: SecuredShop, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other.pem")
    port = shop.broker.secure_servers.partition(":")[2]
    certified = shop.certified("stock", tmp_path)
    old = shop.broker.authority.sign("ordersaga-stock", age=timedelta(days=9), life=timedelta(days=1))
    own = shop.of("stock")

    def with_certificate(name: str, certificate: bytes) -> dict[str, str]:
        file = tmp_path / name
        file.write_bytes(certificate)
        ours = {f"ORDERSAGA_KAFKA_SSL_{each}_LOCATION": str(file) for each in ("CERTIFICATE", "KEY")}
        return shop.common | shop.database("stock") | certified | ours

    cases: dict[str, tuple[dict[str, str], str]] = {
        "the audit's role": (
            own | shop.database("stock", "ordersaga_audit"),
            "does not let its role ordersaga_audit use the tables",
        ),
        "a wrong password at PostgreSQL": (
            own | {name: url.replace(PASSWORD, "wrong") for name, url in shop.database("stock").items()},
            "password authentication failed",
        ),
        "another mechanism": (own | {"ORDERSAGA_KAFKA_SASL_MECHANISM": "PLAIN"}, "PLAIN"),
        "another CA of Kafka": (
            own | {"ORDERSAGA_KAFKA_SSL_CA_LOCATION": str(tmp_path / "other.pem")},
            "certificate verify failed",
        ),
        "another name of Kafka": (
            own | {"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": f"localhost:{port}"},
            "certificate verify failed",
        ),
        "a certificate of last week": (with_certificate("old", old), "expired"),
        "a certificate of another CA": (with_certificate("foreign", other.sign("ordersaga-stock")), "SSL alert"),
        "another CA of PostgreSQL": (
            own | shop.database("stock", sslrootcert=str(tmp_path / "other.pem")),
            "certificate verify failed",
        ),
        "another name of PostgreSQL": (own | shop.database("stock", host="localhost"), "certificate verify failed"),
        "no TLS to PostgreSQL": (own | shop.database("stock", sslmode="disable", sslrootcert="system"), "pg_hba.conf"),
    }
    said = await asyncio.gather(*(refusal(admission_of(variables, "stock")) for variables, _ in cases.values()))
    for name, answer in zip(cases, said, strict=True):
        assert answer and cases[name][1] in answer and PASSWORD not in answer, f"{name}: {answer}"
    assert await refusal(admission_of(own, "stock")) is None
    examined = await examine(Settings.of(own), "stock")
    assert {each.outcome for each in examined.findings if each.check in ("database", "schema")} == {"ok"}


async def test_postgresqls_authority_may_be_named_beside_the_urls(
    shop: SecuredShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the Helm chart does, whose Secrets with URLs need not know where a file is mounted."""
    in_url = f"&sslrootcert={shop.postgres.ca}"
    own = {name: value.replace(in_url, "") for name, value in shop.of("stock").items()}
    assert own != shop.of("stock")
    monkeypatch.setenv("PGSSLROOTCERT", str(shop.postgres.ca))
    assert await refusal(admission_of(own, "stock")) is None
    of_migrate = {name: value.replace(in_url, "") for name, value in shop.of_migrate().items()}
    of_migrate["PGSSLROOTCERT"] = str(shop.postgres.ca)
    again = await asyncio.to_thread(type_command, ["migrate", "--only", "stock"], of_migrate)
    assert again.code == 0, again
    Authority(tmp_path / "other.pem")
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "other.pem"))
    assert "certificate verify failed" in str(await refusal(admission_of(own, "stock")))


async def test_somebody_elses_table_in_the_schema_is_none_of_ours(shop: SecuredShop) -> None:
    own = shop.of("stock")
    with psycopg.connect(shop.postgres.database_url("ordersaga_stock"), autocommit=True) as db:
        db.execute("CREATE TABLE spatial_ref_sys (n int)")
        try:
            assert await refusal(admission_of(own, "stock")) is None
            again = await asyncio.to_thread(type_command, ["migrate", "--only", "stock"], shop.of_migrate())
            assert again.code == 0, again
        finally:
            db.execute("DROP TABLE spatial_ref_sys")


def test_a_service_that_will_never_work_ends_with_the_reason(shop: SecuredShop) -> None:
    own = shop.of("stock") | {"ORDERSAGA_HTTP_PORT": "0"}
    cases = (
        (
            shop.kafka("payment"),
            "do not allow ordersaga-payment what stock needs: Read on group ordersaga-stock, Read on topic order-created",
        ),
        (
            shop.database("stock", "ordersaga_payment"),
            'permission denied for database "ordersaga_stock"',
        ),
        ({"ORDERSAGA_KAFKA_SASL_PASSWORD": "wrong"}, "uthentication failed"),
        ({"ORDERSAGA_KAFKA_OPTIONS": '{"no.such": 1}'}, "No such configuration property"),
    )
    with ThreadPoolExecutor(len(cases)) as pool:
        answers = list(pool.map(lambda case: type_command(["serve", "stock"], own | case[0]), cases))
    for answer, (_, said) in zip(answers, cases, strict=True):
        assert answer.code == CANNOT_START and said in answer.err, answer
        assert PASSWORD not in answer.err and PASSWORD not in answer.out, answer


def test_a_service_starts_with_a_certificate_instead_of_a_password(shop: SecuredShop, tmp_path: Path) -> None:
    stock = shop.processes["stock"]
    stock.stop()
    stock.environment = {name: value for name, value in stock.environment.items() if "_KAFKA_" not in name}
    stock.environment |= shop.certified("stock", tmp_path)
    stock.start()
    asyncio.run(buy_each(shop))
