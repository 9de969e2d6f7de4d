"""`python -m ordersaga`."""

from ordersaga.cli import app

app()
