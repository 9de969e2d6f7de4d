"""Finds out why Kafka does not answer with the present settings: the error of Kafka or of the network."""

import re
import time
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from ordersaga.messaging.kafka.client import client_config
from ordersaga.settings import Settings

REACH_LIMIT_S: Final = 4.0
ONE_TRY_S: Final = 1.0
FINAL_CODES: Final = (KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION, KafkaError._RESOLVE, KafkaError._SSL)
REFUSALS: Final = (KafkaError._AUTHENTICATION, KafkaError._SSL)
UNTRUSTED: Final = ("SSL alert number", "certificate verify failed")
"""In the text of an error if the broker does not take our certificate, or we do not take its. The code is often that of a broken connection:
librdkafka 2.16 gives either code by chance, and never `_SSL` where the broker refuses by TLS 1.3."""
TOKEN: Final = "Failed to acquire SASL OAUTHBEARER token: "
"""What the client calls a refusal, too, where the identity provider is only away. A provider that refuses us answers with JSON."""

_state: Final = re.compile(r"^\S+/bootstrap: | \(after \d+ms in state \w+.*\)$")


def why_unreachable(settings: Settings, limit_s: float = REACH_LIMIT_S) -> str | None:
    """Why Kafka does not answer; None: Kafka answers. Blocks for `limit_s` at most, less after an error in `FINAL_CODES`."""
    return _ask(settings, limit_s)[0]


def why_refused(settings: Settings, limit_s: float = REACH_LIMIT_S) -> str | None:
    """Why Kafka will not answer before a setting is changed; None: it answers, or may later. Blocks like `why_unreachable`."""
    why, is_lasting = _ask(settings, limit_s)
    return why if is_lasting else None


def why_not_made(settings: Settings) -> str | None:
    """Why librdkafka makes no client with these settings; None: it does. Asks no server."""
    try:
        AdminClient(client_config(settings))
    except KafkaException as error:
        return str(error.args[0].str())
    return None


def _ask(settings: Settings, limit_s: float) -> tuple[str | None, bool]:
    """Why Kafka does not answer, and whether that lasts until a setting is changed."""
    errors: list[KafkaError] = []
    end = time.monotonic() + limit_s
    try:
        client = AdminClient(client_config(settings, {"error_cb": errors.append}))
    except KafkaException as error:  # an option that librdkafka does not have, a file that it cannot read
        return error.args[0].str(), True
    while True:
        try:
            if client.list_topics(timeout=ONE_TRY_S).brokers:
                return None, False
            why = "Kafka names no broker"
        except KafkaException as error:
            why = error.args[0].str()
        client.poll(0)
        if time.monotonic() > end or any(each.code() in FINAL_CODES for each in errors):
            return _plainest(errors) or why, any(map(_is_refusal, errors))


def _is_refusal(error: KafkaError) -> bool:
    _, no_token, why = error.str().partition(TOKEN)
    if no_token:
        return why.startswith("{")
    return error.code() in REFUSALS or any(each in error.str() for each in UNTRUSTED)


def _plainest(errors: list[KafkaError]) -> str | None:
    """The last error that names a cause. "All brokers are down" does not: it follows from another error."""
    own = [_state.sub("", each.str()) for each in errors if each.code() != KafkaError._ALL_BROKERS_DOWN]
    return own[-1] if own else None
