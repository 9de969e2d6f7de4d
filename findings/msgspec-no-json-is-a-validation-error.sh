#!/usr/bin/env bash
# Software: msgspec 0.22.0.
#
# Behaviour: bytes that are no JSON raise four kinds of errors. Which one depends on what stands before the fault:
# a text cut off behind a field of the wrong type raises ValidationError, as JSON that does not fit does. Wrong
# UTF-8 raises UnicodeDecodeError and deep nesting RecursionError, the latter also in a field that the type does not
# have and that is skipped. Neither of the two is a MsgspecError, and RecursionError is no ValueError either.
#
# Expected: DecodeError for all of them, of which the documentation says that it is raised where the message cannot
# be decoded, so that `except msgspec.DecodeError` is enough for what strangers send, and that a ValidationError
# means that the same bytes can be decoded without the type, for example to name every wrong field.
#
# Seen:
#   cut off                   DecodeError         (a MsgspecError: True, a ValueError: True)
#   cut off, a wrong type     ValidationError     (a MsgspecError: True, a ValueError: True)
#   wrong UTF-8               UnicodeDecodeError  (a MsgspecError: False, a ValueError: True)
#   nested in a skipped field RecursionError      (a MsgspecError: False, a ValueError: False)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check msgspec==0.22.0 || exit 2

"$folder/venv/bin/python" - <<'PY'
import sys

import msgspec


class Order(msgspec.Struct):
    name: str


def raised(body):
    try:
        msgspec.json.decode(body, type=Order)
    except Exception as error:
        return error
    return None


bodies = {
    "cut off": b'{"name":"a"',
    "cut off, a wrong type": b'{"name":5',
    "wrong UTF-8": b'{"name":"\xff"}',
    "nested in a skipped field": b'{"name":"a","x":' + b"[" * 5_000,
}
seen = []
for what, body in bodies.items():
    error = raised(body)
    kinds = isinstance(error, msgspec.MsgspecError), isinstance(error, ValueError)
    seen.append((type(error).__name__, *kinds))
    print(f"{what:26}{type(error).__name__:20}(a MsgspecError: {kinds[0]}, a ValueError: {kinds[1]})")
sys.exit(
    seen
    != [
        ("DecodeError", True, True),
        ("ValidationError", True, True),
        ("UnicodeDecodeError", False, True),
        ("RecursionError", False, False),
    ]
)
PY
