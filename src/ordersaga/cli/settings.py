"""`settings` prints every setting, its value and where it came from."""

import json
import os

from dotenv import dotenv_values
from rich.table import Table

from ordersaga.cli.options import load_settings, out
from ordersaga.settings import SETTINGS_FILE


def settings() -> None:
    """Print all settings with their source; secrets are masked. Set one with the environment variable in the first column."""
    values = load_settings()
    written = {name.upper() for name in dotenv_values(SETTINGS_FILE)} if SETTINGS_FILE.exists() else set()
    table = Table("setting", "value", "from")
    for name in type(values).model_fields:
        variable = f"ORDERSAGA_{name.upper()}"
        source = "environment" if variable in os.environ else str(SETTINGS_FILE) if variable in written else "default"
        table.add_row(variable, masked(name, getattr(values, name)), source)
    out.print(table)


def masked(name: str, value: object) -> str:
    """A value as it may be shown: of a database URL all but the password, of another secret nothing."""
    if hasattr(value, "get_secret_value"):
        secret = value.get_secret_value()
        if not name.endswith("_url"):
            return "********"
        head, at, tail = secret.rpartition("@")
        scheme, _, user = head.partition("://")
        return f"{scheme}://{user.partition(':')[0]}{':********' if ':' in user else ''}{at}{tail}" if at else secret
    return value if isinstance(value, str) else json.dumps(value, default=str)
