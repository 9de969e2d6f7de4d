"""A Delivery service that fails as told: a trigger in its database raises for chosen zipcodes; it is mended by taking the zipcode out."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

from uuid_utils.compat import uuid7

from ordersaga import delivery
from ordersaga.contracts.messages import DeliveryRequestMessage
from ordersaga.delivery import app
from ordersaga.devstack import DevStack
from tests.integration.operator_rig import OperatorRig, operator_rig

REQUESTS = "delivery-request-topic"
FAILING = """
CREATE TABLE failing (zipcode text PRIMARY KEY);
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM failing f WHERE f.zipcode = NEW.zipcode) THEN RAISE EXCEPTION 'the carrier is away'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER failing BEFORE INSERT ON delivery FOR EACH ROW EXECUTE FUNCTION fail();
"""
ZIPCODES = itertools.count(10_000)


@contextlib.asynccontextmanager
async def failing_depot(stack: DevStack, **changes: Any) -> AsyncIterator[OperatorRig]:
    """It runs, and nothing fails yet."""
    async with operator_rig(stack, "delivery", delivery, app.handler, app.create_app, **changes) as rig:
        await rig.pool.execute(FAILING)
        yield rig


def ask(order_id: UUID, zipcode: str = "04524") -> DeliveryRequestMessage:
    return DeliveryRequestMessage(
        order_id=order_id, customer_id=uuid4(), address="세종대로 110", zipcode=zipcode, name="김주문"
    )


def zipcode() -> str:
    """One that no other test makes fail."""
    return str(next(ZIPCODES))


async def break_down(depot: OperatorRig, zipcode: str) -> None:
    await depot.pool.execute("INSERT INTO failing VALUES ($1)", zipcode)


async def mend(depot: OperatorRig, zipcode: str) -> None:
    await depot.pool.execute("DELETE FROM failing WHERE zipcode = $1", zipcode)


async def given_up(depot: OperatorRig, count: int = 1) -> tuple[str, list[UUID]]:
    """Orders whose requests have become dead letters, and the zipcode that makes them fail."""
    bad, order_ids = zipcode(), [uuid7() for _ in range(count)]
    await break_down(depot, bad)
    await depot.send(*(ask(each, bad) for each in order_ids))
    for each in order_ids:
        await depot.letters(each)
    return bad, order_ids


async def delivered(depot: OperatorRig, order_id: UUID) -> str | None:
    status: str | None = await depot.pool.fetchval("SELECT status FROM delivery WHERE order_id = $1", order_id)
    return status
