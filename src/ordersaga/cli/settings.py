"""`settings` prints every setting, its value and where it came from."""

import json
import os

from pydantic import SecretStr
from rich.markup import escape
from rich.table import Table

from ordersaga.cli.options import load_settings, out, running_here
from ordersaga.cli.running import SETTINGS_FILE
from ordersaga.masking import MASK, masked, names_a_secret
from ordersaga.settings import PREFIX


def settings() -> None:
    """Print all settings with their source; secrets are masked. Set one with the environment variable in the first column."""
    values = load_settings()
    up = running_here()
    named = {name.upper() for name in os.environ}
    written = set(up.variables) if up else set()
    table = Table("setting", "value", "from")
    for name in type(values).model_fields:
        variable = f"{PREFIX}{name.upper()}"
        source = "default"
        if variable in named:
            source = "environment"
        elif f"{variable}_FILE" in named:
            source = f"{variable}_FILE"
        elif variable in written:
            source = str(SETTINGS_FILE)
        table.add_row(variable, escape(shown(getattr(values, name))), source)
    out.print(table)


def shown(value: object) -> str:
    """A value as text: a URL with its secrets masked, any other secret masked whole."""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return masked(secret) if "://" in secret else MASK
    if isinstance(value, dict):
        value = {name: _option(name, each) if isinstance(each, SecretStr) else each for name, each in value.items()}
    return masked(value if isinstance(value, str) else json.dumps(value, default=str))


def _option(name: str, value: SecretStr) -> str:
    return MASK if names_a_secret(name) else value.get_secret_value()
