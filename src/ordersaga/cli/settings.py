"""`settings` prints every setting, its value and where it came from."""

import json
import os

from rich.table import Table

from ordersaga.cli.options import load_settings, out


def settings() -> None:
    """Print all settings with their source; secrets are masked. Set one with the environment variable in the first column."""
    values = load_settings()
    table = Table("setting", "value", "from")
    for name, field in type(values).model_fields.items():
        variable = f"ORDERSAGA_{name.upper()}"
        value = getattr(values, name)
        shown = masked(name, value)
        table.add_row(variable, shown, "environment" if variable in os.environ else "default", end_section=False)
        del field
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
    return value if isinstance(value, str) else json.dumps(value)
