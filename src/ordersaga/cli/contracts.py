"""`asyncapi` prints the AsyncAPI document of the order process."""

import json
from enum import StrEnum
from typing import Annotated, cast

import typer

from ordersaga.contracts.asyncapi import document
from ordersaga.contracts.topics import Role


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
    """Print the AsyncAPI 3 document as JSON: topics, messages, headers, and what Kafka must know of them.

    With a service's name the document is about this service alone: the one to generate its code from.
    """
    print(json.dumps(document(cast(Role | None, part and part.value)), indent=2, ensure_ascii=False))
