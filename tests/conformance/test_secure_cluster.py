"""`ordersaga conform` against our Delivery on a Kafka with TLS, passwords and ACLs: it passes, and names what keeps it out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from ordersaga.contracts.topics import TOPICS
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.system import System
from tests.certificates import Authority
from tests.conformance.running_partner import QUICK, Verdict, conform
from tests.conformance.secure_broker import SecureBroker

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

PASSWORD: Final = "Only for this test, 비밀"
FIRST_REQUEST: Final = "asking delivery for a first answer"
"""What the kit says when it begins to wait for the service."""
ASKED, ANSWERED = "delivery-request-topic", "delivery-start-topic"
OUR_TOPICS: Final = [name for topic in TOPICS for name in (topic.name, topic.dead_letters)]
DENIED: Final = {
    "cannot-write": ("WRITE", "TOPIC", ASKED, f"do not allow Write on {ASKED}"),
    "cannot-read": ("READ", "TOPIC", ANSWERED, f"do not allow Read on {ANSWERED}"),
    "cannot-see": ("DESCRIBE", "TOPIC", ANSWERED, f"Describe on {ANSWERED}"),
    "cannot-read-letters": ("READ", "TOPIC", f"{ASKED}-dlt", f"do not allow Read on {ASKED}-dlt"),
}
"""Users of whom one thing is denied, and how that is named."""


class Cluster(NamedTuple):
    """A cluster with a running Delivery."""

    broker: SecureBroker
    folder: Path

    def settings(self, user: str) -> dict[str, str]:
        """As an operations team gives them out."""
        return {
            "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": self.broker.secure_servers,
            "ORDERSAGA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "ORDERSAGA_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "ORDERSAGA_KAFKA_SASL_USERNAME": user,
            "ORDERSAGA_KAFKA_SASL_PASSWORD": PASSWORD,
            "ORDERSAGA_KAFKA_SSL_CA_LOCATION": str(self.broker.ca),
        }

    def conform(self, user: str, *arguments: str, **other: str) -> Verdict:
        """Judge the Delivery as this user."""
        settings = self.settings(user) | {f"ORDERSAGA_KAFKA_{name}": value for name, value in other.items()}
        return conform(
            self.folder, self.broker.secure_servers, "delivery", *QUICK, "--without", "restart", *arguments,
            environment=settings,
        )  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """What docs/partners.md says that our principal needs, and what docs/conformance.md says that the kit's user needs, and no more."""
    folder = StackFolder(None)
    broker = SecureBroker(folder)
    try:
        broker.start()
        broker.add_user("ordersaga", PASSWORD)
        broker.allow("ordersaga", "READ DESCRIBE", "GROUP", ["ordersaga-"], prefix=True)
        broker.allow(
            "ordersaga", "READ WRITE DESCRIBE DESCRIBE_CONFIGS CREATE ALTER ALTER_CONFIGS", "TOPIC", OUR_TOPICS
        )
        for user in ("kit", "without-transactions", *DENIED):
            broker.add_user(user, PASSWORD)
            broker.allow(user, "READ WRITE DESCRIBE", "TOPIC", [ASKED, ANSWERED, f"{ASKED}-dlt"])
            if user != "without-transactions":
                broker.allow(user, "WRITE DESCRIBE", "TRANSACTIONAL_ID", ["ordersaga-sender-"], prefix=True)
        for user, (operation, kind, name, _) in DENIED.items():
            broker.deny(user, operation, kind, name)
        here = Cluster(broker, tmp_path_factory.mktemp("secure"))
        extra = here.settings("ordersaga") | {"ORDERSAGA_TOPIC_PARTITIONS": "3", "ORDERSAGA_LOG_LEVEL": "error"}
        with System(services=["delivery"], bootstrap_servers=broker.secure_servers, extra=extra):
            yield here
    finally:
        broker.abandon()
        folder.close()


def test_our_delivery_conforms_on_a_secure_cluster(cluster: Cluster, tmp_path: Path) -> None:
    config = tmp_path / "conform.toml"
    (tmp_path / "password").write_text(PASSWORD)
    config.write_text(
        f"""
        [settings]
        kafka_bootstrap_servers = "{cluster.broker.secure_servers}"
        kafka_security_protocol = "SASL_SSL"
        kafka_sasl_mechanism = "SCRAM-SHA-512"
        kafka_sasl_username = "kit"
        kafka_sasl_password_file = "{tmp_path}/password"
        kafka_ssl_ca_location = "{cluster.broker.ca}"
        """
    )
    arguments = ("--config", str(config), "--without", "restart")
    verdict = conform(tmp_path, cluster.broker.secure_servers, "delivery", *QUICK, *arguments)
    assert verdict.answer.code == 0 and len(verdict.passed) > 40, verdict.answer


@pytest.mark.parametrize("user", DENIED)
def test_a_missing_acl_is_named_before_the_first_request(cluster: Cluster, user: str) -> None:
    verdict = cluster.conform(user)
    assert verdict.answer.code == 2 and DENIED[user][3] in verdict.answer.err, verdict.answer
    assert FIRST_REQUEST not in verdict.answer.err


def test_a_user_without_transactions_has_all_other_cases(cluster: Cluster) -> None:
    verdict = cluster.conform("without-transactions", "--only", "transactions", "--only", "happy")
    assert verdict.answer.code == 2 and verdict.passed and not verdict.failed, verdict.answer
    assert all("transaction" in name for name in verdict.not_judged) and verdict.not_judged
    assert "Write and Describe on transactional ids that begin with ordersaga-sender-" in verdict.answer.out


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"SASL_PASSWORD": "another"}, "uthentication failed"),
        ({"SASL_USERNAME": "nobody"}, "uthentication failed"),
        ({"SASL_MECHANISM": "PLAIN"}, "PLAIN"),
        ({"SSL_CA_LOCATION": "another"}, "certificate verify failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_wrong_way_in_is_named_before_the_first_request(
    cluster: Cluster, tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    if "SSL_CA_LOCATION" in wrong:
        wrong = {"SSL_CA_LOCATION": str(tmp_path / "ca.pem")}
        Authority(tmp_path / "ca.pem")
    verdict = cluster.conform("kit", **wrong)
    assert verdict.answer.code == 2 and said in verdict.answer.err, verdict.answer
    assert PASSWORD not in verdict.answer.err and FIRST_REQUEST not in verdict.answer.err


def test_a_topic_of_somebody_else_that_may_not_be_read_is_left_alone(cluster: Cluster) -> None:
    cluster.broker.allow("kit", "DESCRIBE", "TOPIC", ["order-created"])
    verdict = cluster.conform("kit", "--only", "happy")
    assert verdict.answer.code == 0, verdict.answer
    assert "note: not heard, since Kafka's ACLs do not allow Read: order-created" in verdict.answer.out
