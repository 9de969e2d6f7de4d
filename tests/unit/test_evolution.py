"""The contract stays compatible with each released one, and every rule of docs/evolution.md finds its breach.

`python -m tests.unit.test_evolution` writes the present contract beside the released ones; a released file never changes.
"""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.topics import CONTRACT_VERSION
from tests.unit.evolution import Contract, broken, contract

RELEASED = Path(__file__).parent / "released_contracts"
VERSIONS = sorted(path.stem for path in RELEASED.glob("*.json"))
WRITE = "`python -m tests.unit.test_evolution` writes it"


def released(version: str) -> Contract:
    found: Contract = json.loads((RELEASED / f"{version}.json").read_text())
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_breaks_readers_and_writers_of_a_released_contract(version: str) -> None:
    assert list(broken(released(version), contract())) == []


def test_the_present_contract_is_kept_under_its_version() -> None:
    assert CONTRACT_VERSION in VERSIONS, f"the contract has no file for version {CONTRACT_VERSION}: {WRITE}"
    same = released(CONTRACT_VERSION) == contract()
    assert same, f"the contract is not that of {CONTRACT_VERSION} any more: raise CONTRACT_VERSION, then {WRITE}"


def fields(contract: Contract, message: str) -> Contract:
    found: Contract = contract["schemas"][message]["properties"]
    return found


def amount(contract: Contract) -> Contract:
    found: Contract = fields(contract, "PaymentSuccessMessage")["amount"]
    return found


def stock(contract: Contract) -> Contract:
    found: Contract = contract["schemas"]["StockResponseMessage"]
    return found


TEXT: Contract = {"type": ["string", "null"], "default": None}
BREACHES: dict[str, tuple[Callable[[Contract], object], str]] = {
    "topic removed": (lambda c: c["topics"].pop("order-created"), "order-created is gone.*never removed"),
    "key changed": (
        lambda c: c["topics"]["product-price-topic"].update(key="order_id"),
        "its key was product_id and is",
    ),
    "reader gone": (lambda c: c["topics"]["order-created"]["consumers"].clear(), "stock reads it no more"),
    "kept shorter": (lambda c: c["topics"]["order-completed-topic"].update(kept_days=7), "7 days instead of 30"),
    "compacted": (
        lambda c: c["topics"]["order-payable-topic"].update(kept_days=None),
        "was compacted before or is now",
    ),
    "header removed": (lambda c: c["headers"].remove("message-id"), "the header message-id is gone"),
    "field removed": (lambda c: stock(c)["properties"].pop("message"), "StockResponseMessage.message is gone"),
    "field renamed": (
        lambda c: stock(c)["properties"].update(text=stock(c)["properties"].pop("message")),
        "StockResponseMessage.message is gone",
    ),
    "order of fields": (
        lambda c: stock(c).update(properties=dict(reversed(stock(c)["properties"].items()))),
        "StockResponseMessage: fields have another order",
    ),
    "field in front": (
        lambda c: stock(c).update(properties={"new": TEXT, **stock(c)["properties"]}),
        "StockResponseMessage: fields have another order",
    ),
    "new required field": (
        lambda c: (stock(c)["properties"].update(new={"type": "string"}), stock(c)["required"].append("new")),
        "StockResponseMessage.new is new and required",
    ),
    "optional now": (lambda c: stock(c)["required"].remove("status"), "status may be null now: old readers"),
    "required now": (lambda c: stock(c)["required"].append("message"), "message is required now: old writers"),
    "new word": (lambda c: stock(c)["properties"]["status"]["enum"].append("PARTLY"), "may be PARTLY now: old readers"),
    "word gone": (
        lambda c: stock(c)["properties"]["status"]["enum"].remove("FAILED"),
        "not be FAILED any more: old writ",
    ),
    "larger number": (lambda c: amount(c).update(maximum=2**63 - 1), "amount: maximum.*old readers"),
    "smaller number": (lambda c: amount(c).update(maximum=1_000), "amount: maximum.*old writers"),
    "new limit": (
        lambda c: fields(c, "StockDecreaseRequestMessage")["products"].update(maxItems=10),
        "products: maxItems.*old writers",
    ),
    "limit gone": (
        lambda c: fields(c, "StockDecreaseRequestMessage")["products"].pop("minItems"),
        "products: minItems.*old readers",
    ),
    "other type": (lambda c: amount(c).update(type=["string", "null"]), "amount: its type was integer and is string"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_each_rule_finds_its_breach_and_says_which_rule_it_is(name: str) -> None:
    change, said = BREACHES[name]
    new = deepcopy(contract())
    change(new)
    found = list(broken(contract(), new))
    assert any(re.search(said, each) for each in found), found


def test_an_optional_field_at_the_end_a_topic_and_a_header_may_be_added() -> None:
    new = deepcopy(contract())
    new["schemas"]["StockResponseMessage"]["properties"]["warehouse"] = {
        "anyOf": [{"type": "string"}, {"type": "null"}]
    }
    new["topics"]["stock-moved-topic"] = new["topics"]["order-created"]
    new["headers"].append("tenant")
    new["topics"]["order-created"]["consumers"].append("payment")
    assert list(broken(contract(), new)) == []


def test_a_newer_message_is_read_without_what_is_new_and_a_new_word_becomes_a_dead_letter_with_its_reason() -> None:
    """What docs/evolution.md says of a service beside newer partners."""
    value = {"orderId": UUID(int=1), "status": "SUCCESS", "warehouse": {"id": 1}}
    decode("stock-response-topic", msgspec.json.encode(value))
    with pytest.raises(Undecodable, match='got "PARTLY"'):
        decode("stock-response-topic", msgspec.json.encode(value | {"status": "PARTLY"}))


if __name__ == "__main__":
    (RELEASED / f"{CONTRACT_VERSION}.json").write_text(json.dumps(contract(), indent=1, ensure_ascii=False) + "\n")
