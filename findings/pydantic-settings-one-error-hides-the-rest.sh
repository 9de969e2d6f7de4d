#!/usr/bin/env bash
# Software: pydantic-settings 2.16.3 with pydantic 2.14.3.
#
# Behaviour: an environment value of a list field that is no JSON raises SettingsError, which is not
# pydantic's ValidationError, before any field is validated. The error names that field alone and neither its
# value nor the two other wrong settings.
#
# Expected: one ValidationError with all three, as for every other wrong value, so that an operator mends a
# deployment in one go and a program that turns ValidationError into sentences needs no second path. A list
# that is JSON with a wrong item gives just that.
#
# Seen:
#   PORTS=80,81  SettingsError (a ValidationError: False): error parsing value for field "ports" from source ...
#   PORTS=["a"]  ValidationError of ports, workers, timeout
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydantic-settings==2.16.3 pydantic==2.14.3 || exit 2

WORKERS=few TIMEOUT=long "$folder/venv/bin/python" - <<'PY'
import os
import sys

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsError


class Settings(BaseSettings):
    ports: list[int]
    workers: int
    timeout: int


def raised(ports):
    os.environ["PORTS"] = ports
    try:
        Settings()
    except Exception as error:
        return error
    return None


no_json, wrong_item = raised("80,81"), raised('["a"]')
of_pydantic = isinstance(no_json, ValidationError)
print(f"PORTS=80,81  {type(no_json).__name__} (a ValidationError: {of_pydantic}): {no_json}")
fields = [each["loc"][0] for each in wrong_item.errors()] if isinstance(wrong_item, ValidationError) else []
print(f'PORTS=["a"]  {type(wrong_item).__name__} of {", ".join(fields)}')
as_stated = (
    isinstance(no_json, SettingsError)
    and not of_pydantic
    and "workers" not in str(no_json)
    and fields == ["ports", "workers", "timeout"]
)
sys.exit(not as_stated)
PY
