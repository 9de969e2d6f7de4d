"""Waits until Order has heard of a product's price: until then it takes any total, and the order waits."""

import time
from uuid import UUID

import psycopg

from ordersaga.devstack.system import System

LIMIT_S = 60.0


def until_order_knows_the_price(system: System, product_id: UUID | str) -> None:
    with psycopg.connect(system.settings.database_url("order"), autocommit=True) as db:
        end = time.monotonic() + LIMIT_S
        while not db.execute("SELECT 1 FROM price WHERE product_id = %s", [product_id]).fetchone():
            assert time.monotonic() < end, "Order has not heard of the price"
            time.sleep(0.05)
