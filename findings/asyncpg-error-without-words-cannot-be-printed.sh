#!/usr/bin/env bash
# Software: asyncpg 0.32.0.
#
# Behaviour: str() of an asyncpg server error that was made without a message raises IndexError. Python's own
# exceptions, and repr() of the same error, work. A fake that raises the bare class, as in
# `raise asyncpg.UniqueViolationError`, is such an error.
#
# Expected: str() of an exception without arguments is the empty string. A handler that logs f"{error}" then
# fails inside the except block, and the caller sees IndexError instead of the database error.
#
# Seen:
#   UniqueViolationError   repr: UniqueViolationError()   str: raises IndexError   formatted: <exception str() failed>
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==0.32.0 || exit 2

"$folder/venv/bin/python" - <<'PY'
import sys
import traceback

import asyncpg

assert str(ValueError()) == "" and str(OSError()) == ""
error = asyncpg.UniqueViolationError()
try:
    said = f"is {str(error)!r}"
except Exception as raised:
    said = f"raises {type(raised).__name__}"
formatted = "".join(traceback.format_exception_only(error)).split(": ", 1)[1].strip()
print(f"{type(error).__name__}   repr: {error!r}   str: {said}   formatted: {formatted}")
sys.exit(said != "raises IndexError" or repr(error) != "UniqueViolationError()")
PY
