"""The command line: one file per group of commands. May import everything. Start with `main.py`."""

from ordersaga.cli.main import app

__all__ = ["app"]
