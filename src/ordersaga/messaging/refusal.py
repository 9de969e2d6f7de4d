"""How a command is refused: the rule or the gathered write returns a `Refusal` instead of its result.

A refusal says nothing of HTTP. `http/problems.py` `problem_of` gives each kind its status, the command line prints `detail`.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from msgspec import Struct

RefusalKind: TypeAlias = Literal["UNKNOWN", "INVALID", "CONFLICT", "MISMATCH", "KEY_REUSED"]
"""UNKNOWN: the thing does not exist, or belongs to another caller. INVALID: a field is wrong. CONFLICT: the state does not allow the command.
MISMATCH: the amount to pay is not the order's total. KEY_REUSED: the Idempotency-Key stands for another body."""


FieldCode: TypeAlias = Literal[
    "missing",
    "type",
    "format",
    "pattern",
    "unknown",
    "too_short",
    "too_long",
    "too_small",
    "too_large",
    "out_of_range",
    "duplicate",
    "mismatch",
    "inactive",
    "invalid",
]
"""What is wrong with a field, for programs. `missing`: there is no such field. `type`: text instead of a number, say. `format`: no UUID or time.
`pattern`: characters that are not allowed. `unknown`: none of the values that the field may have. `too_short` and `too_long` are about texts
and lists. `too_small` and `too_large`: a number beyond a limit that `message` names. `out_of_range`: no offset between the two ends of a
partition's log, and no word for one of the ends. `duplicate`: the same value twice.
`mismatch`: the value contradicts what the service knows. `inactive`: the thing that the field names exists and cannot be had. `invalid`:
anything else."""

NOT_VALID: Final = "The request is not valid"
FIELDS_IN_DETAIL_MAX: Final = 3


class FieldError(Struct, frozen=True):
    """One field of a request that is wrong.

    `field` is a path such as `items[0].quantity`. `message` is for people; `code` stays the same from version to version.
    """

    field: str
    message: str
    code: FieldCode = "invalid"


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


def wrong_field(field: str, message: str, code: FieldCode) -> Refusal:
    """One field of the command is wrong."""
    return wrong_fields([FieldError(field, message, code)])


def wrong_fields(errors: Sequence[FieldError]) -> Refusal:
    """Fields of the command are wrong. A client gets all of them at once; `detail` repeats the first few."""
    detail = "; ".join(f"{each.field}: {each.message}" for each in errors[:FIELDS_IN_DETAIL_MAX])
    return Refusal("INVALID", NOT_VALID, detail, tuple(errors))
