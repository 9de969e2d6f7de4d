"""How a command is refused: the rule or the gathered write returns a `Refusal` instead of its result.

A refusal says nothing of HTTP. `http/problems.py` `problem_of` gives each kind its status, the command line prints `detail`.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

RefusalKind: TypeAlias = Literal["UNKNOWN", "INVALID", "CONFLICT", "MISMATCH", "KEY_REUSED"]
"""UNKNOWN: the thing does not exist, or belongs to another caller. INVALID: a field is wrong. CONFLICT: the state does not allow the command.
MISMATCH: the amount to pay is not the order's total. KEY_REUSED: the Idempotency-Key stands for another body."""


class FieldError(Struct, frozen=True):
    """One field of a request that is wrong.

    `field` is a path such as `items[0].quantity`. `message` is for people; `code` stays the same from version to version.
    """

    field: str
    message: str
    code: str = "invalid"


class Refusal(Struct, frozen=True):
    """A command that is not carried out: no row is changed, no record goes out, and the key that it claimed is released.

    After KEY_REUSED the key stays with the first request.
    `title` is the same for all refusals for one reason, `detail` is about this one. `errors` names the fields that are to blame, if any.
    """

    kind: RefusalKind
    title: str
    detail: str = ""
    errors: tuple[FieldError, ...] = ()


def no_such(thing: str) -> Refusal:
    """For a thing that does not exist, and for another caller's thing, so that the answer does not disclose that it exists."""
    return Refusal("UNKNOWN", f"There is no such {thing}")


def wrong_field(field: str, message: str, code: str) -> Refusal:
    """One field of the command is wrong, by what the service knows."""
    return Refusal("INVALID", "The request is not valid", f"{field}: {message}", (FieldError(field, message, code),))
