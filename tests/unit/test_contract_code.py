"""The messages as JSON Schemas and as Python dataclasses: both take what our services write, and the schemas refuse what decoding refuses."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from ordersaga.cli.contracts import app
from ordersaga.contracts import asyncapi, limits
from ordersaga.contracts import messages as m
from ordersaga.contracts.code import python
from ordersaga.contracts.codec import Undecodable, decode, encode
from ordersaga.contracts.examples import EXAMPLES
from ordersaga.contracts.schemas import schema_of
from ordersaga.contracts.topics import BY_MESSAGE, TOPICS, Role
from ordersaga.order.resources import PlaceOrder


def validator(message: type[m.Message]) -> Draft202012Validator:
    schema = schema_of(BY_MESSAGE[message])
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The Python module, imported as another team would."""
    ((name, text),) = python.files()
    path: Path = tmp_path_factory.mktemp("python") / name
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("generated_messages", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_there_is_an_example_of_each_message() -> None:
    assert list(EXAMPLES) == [topic.message for topic in TOPICS]


@pytest.mark.parametrize("message", EXAMPLES)
def test_each_schema_takes_its_example_with_a_field_of_a_later_version(message: type[m.Message]) -> None:
    value = msgspec.json.decode(encode(EXAMPLES[message]))
    validator(message).validate(value | {"giftMessage": "!"})


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (m.StockResponseMessage, {"status": "MAYBE"}),
        (m.StockResponseMessage, {"orderId": "x"}),
        (m.StockDecreaseRequestMessage, {"products": []}),
        (m.PaymentSuccessMessage, {"amount": 2**31}),
        (m.PaymentSuccessMessage, {"amount": -1}),
        (m.PaymentCancelRequestedMessage, {"requestId": "x" * 201}),
    ],
)
def test_a_schema_refuses_what_decoding_refuses(message: type[m.Message], change: dict[str, Any]) -> None:
    value = msgspec.json.decode(encode(EXAMPLES[message])) | change
    assert not validator(message).is_valid(value)
    with pytest.raises(Undecodable):
        decode(BY_MESSAGE[message].name, msgspec.json.encode(value))


def test_a_text_beyond_its_limit_is_no_writers_and_is_read_all_the_same() -> None:
    value = {"orderId": str(UUID(int=1)), "customerId": str(UUID(int=2)), "address": "x" * 301}
    assert not validator(m.DeliveryRequestMessage).is_valid(value)
    assert msgspec.convert(value, m.DeliveryRequestMessage).address == value["address"]


def test_what_order_takes_over_http_is_within_the_limits_of_the_messages_that_it_writes() -> None:
    body = msgspec.json.schema(PlaceOrder)["$defs"]["PlaceOrder"]["properties"]
    delivery, completed = (
        msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
        for kind in (m.DeliveryRequestMessage, m.OrderCompletedMessage)
    )
    for name, field in [*delivery.items(), *completed.items()]:
        if name in body and (limit := _limit(field)):
            assert limit == _limit(body[name]), name
    assert _limit(completed["orderName"]) == limits.ORDER_NAME_CHARS_MAX


def _limit(field: dict[str, Any]) -> int | None:
    found: int | None = next((each["maxLength"] for each in field.get("anyOf", [field]) if "maxLength" in each), None)
    return found


@pytest.mark.parametrize("part", [None, *get_args(Role)])
def test_a_generator_finds_a_name_for_every_type_of_the_document(part: Role | None) -> None:
    """Modelina, the generator of AsyncAPI's own tools, calls what has no title AnonymousSchema_19, and takes a choice of two for `Object`."""
    found = asyncapi.document(part)
    named = [
        *found["components"]["schemas"].values(),
        *(each["payload"] for each in found["components"]["messages"].values()),
    ]
    for each in named:
        assert "$ref" in each or each["title"]
        for name, said in each.get("properties", {}).items():
            assert "anyOf" not in said and "oneOf" not in said, name
            assert name.startswith("kafka_dlt-") or "enum" not in said or said["title"], name
    assert all("$ref" in each["headers"] for each in found["components"]["messages"].values())


@pytest.mark.parametrize("message", EXAMPLES)
def test_the_dataclasses_read_and_write_what_our_services_write(module: ModuleType, message: type[m.Message]) -> None:
    written = encode(EXAMPLES[message])
    read = msgspec.json.decode(written, type=module.TOPICS[BY_MESSAGE[message].name])
    assert msgspec.json.decode(msgspec.json.encode(read)) == msgspec.json.decode(written)


@pytest.mark.parametrize("language", ["schemas", "java", "typescript", "python"])
def test_the_commands_write_their_files_again_and_say_which(language: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / language
    first, second = (CliRunner().invoke(app, [language, "--out", str(folder)]) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout
    assert sorted(first.stdout.split()) == sorted(map(str, folder.iterdir()))


@pytest.mark.parametrize("package", ["1st.orders", "com..orders", "com.example.", "com.class.orders", "int"])
def test_what_no_java_package_is_called_is_refused(package: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["java", "--package", package, "--out", str(tmp_path / "java")])
    assert said.exit_code == 2 and "is not the name of a Java package" in said.stderr
    assert not (tmp_path / "java").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = CliRunner().invoke(app, ["schemas", "--out", str(tmp_path / "file")])
    assert said.exit_code == 1
    assert f"{tmp_path / 'file'}: " in said.stderr
