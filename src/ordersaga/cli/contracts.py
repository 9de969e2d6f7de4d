"""`asyncapi` prints the AsyncAPI document of the order process; `contracts` writes its messages as schemas and as code."""

import json
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from ordersaga.cli.options import fail, out
from ordersaga.contracts.asyncapi import document
from ordersaga.contracts.code import java as java_code
from ordersaga.contracts.code import python as python_code
from ordersaga.contracts.code import typescript as typescript_code
from ordersaga.contracts.schemas import schema_of
from ordersaga.contracts.topics import TOPICS, Role

app = typer.Typer(
    help="The messages for other teams: as JSON Schemas, and as types of their languages.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Option("--out", help="the folder to write to; files with the same names are replaced")]
Package = Annotated[str, typer.Option(help="the Java package of the records")]
JAVA_NAME = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
JAVA_WORD = (
    r"abstract|assert|boolean|break|byte|case|catch|char|class|const|continue|default|do|double|else|enum|extends|final"
    r"|finally|float|for|goto|if|implements|import|instanceof|int|interface|long|native|new|package|private|protected|public"
    r"|return|short|static|strictfp|super|switch|synchronized|this|throw|throws|transient|try|void|volatile|while|true|false"
    r"|null|_"
)
"""What no part of a name may be (Java Language Specification, section 3.9)."""


class Part(StrEnum):
    """Whose document it is: a service's, or that of a client, who only reads."""

    order = "order"
    stock = "stock"
    payment = "payment"
    delivery = "delivery"
    client = "client"


def asyncapi(
    part: Annotated[Part | None, typer.Argument(help="only what this service sends and receives")] = None,
) -> None:
    """Print the AsyncAPI 3 document as JSON: topics with their settings in Kafka, messages, headers.

    With a service's name the document is about this service alone: the one to generate its code from.
    """
    print(_json(document(cast(Role | None, part and part.value))), end="")


@app.command()
def schemas(folder: Folder = Path("schemas")) -> None:
    """Write the JSON Schema of each message, one file each."""
    _write(folder, ((f"{topic.message.__name__}.json", _json(schema_of(topic))) for topic in TOPICS))


@app.command()
def java(folder: Folder = Path("java"), package: Package = "com.example.ordersaga") -> None:
    """Write the messages as Java records, one file each. They need jackson-annotations, of Jackson 2 or 3.

    With Jackson 2 the two messages with a time also need its module jackson-datatype-jsr310, which Spring Boot has.
    """
    if not re.fullmatch(JAVA_NAME, package):
        raise fail(f"{package!r} is not the name of a Java package, such as com.example.orders")
    for word in package.split("."):
        if re.fullmatch(JAVA_WORD, word):
            raise fail(f"{package!r} is not the name of a Java package, since {word} is a word of the language")
    _write(folder, java_code.files(package))


@app.command()
def typescript(folder: Folder = Path("typescript")) -> None:
    """Write the messages as TypeScript types, one module."""
    _write(folder, typescript_code.files())


@app.command()
def python(folder: Folder = Path("python")) -> None:
    """Write the messages as Python dataclasses, one module of the standard library."""
    _write(folder, python_code.files())


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(folder: Path, files: Iterable[tuple[str, str]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files:
            (folder / name).write_text(text, encoding="utf-8")
            out.print(str(folder / name), soft_wrap=True)
    except OSError as error:
        raise fail(f"{error.filename}: {error.strerror}", 1) from error
