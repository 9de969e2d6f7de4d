"""Dead letters and parked records on real Kafka and PostgreSQL, by the commands that an operator types, against a running service.

The Delivery service fails as told: a trigger in its database raises for chosen zipcodes, and mending is dropping the zipcode from a table.
"""

import asyncio
import getpass
import itertools
import json
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from msgspec.structs import replace
from uuid_utils.compat import uuid7

from ordersaga import delivery, order, payment
from ordersaga.audit import records as audit
from ordersaga.audit.verify import sql as audit_sql
from ordersaga.contracts import codec
from ordersaga.contracts.messages import DeliveryRequestMessage, PaymentSuccessMessage, StockResponseMessage
from ordersaga.delivery import app as delivery_app
from ordersaga.delivery import handlers as delivery_handlers
from ordersaga.devstack import DevStack
from ordersaga.messaging.handler import Incoming, Record
from ordersaga.messaging.kafka import Partition, Tap, Topics, watermarks
from ordersaga.messaging.parking import Parking
from ordersaga.order import app as order_app
from ordersaga.order import handlers as order_handlers
from ordersaga.order import store
from ordersaga.order.model import Facts, Line, Order, Recipient
from ordersaga.payment import handlers as payment_handlers
from tests.integration.operator_rig import OperatorRig, operator_rig, until
from tests.integration.service import Wire, bench
from tests.unit.test_spring_headers import SAMPLE

REQUESTS = "delivery-request-topic"
WHY = ("--why", "the carrier is back")

FAILING = """
CREATE TABLE failing (zipcode text PRIMARY KEY);
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM failing f WHERE f.zipcode = NEW.zipcode) THEN RAISE EXCEPTION 'the carrier is away'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER failing BEFORE INSERT ON delivery FOR EACH ROW EXECUTE FUNCTION fail();
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def depot(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with operator_rig(stack, "delivery", delivery, delivery_handlers.handler, delivery_app.create_app) as rig:
        await rig.pool.execute(FAILING)
        yield rig


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def orders(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with operator_rig(stack, "order", order, order_handlers.handler, order_app.create_app) as rig:
        yield rig


def ask(order_id: UUID, zipcode: str = "04524") -> DeliveryRequestMessage:
    return DeliveryRequestMessage(
        order_id=order_id, customer_id=uuid4(), address="세종대로 110", zipcode=zipcode, name="김주문"
    )


ZIPCODES = itertools.count(10_000)


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


async def accounted_for(rig: OperatorRig) -> None:
    """What the audit says of this service's letters and parked records."""
    async with rig.pool.acquire() as db:
        rows = {rig.service: await audit_sql.dead_letter_rows(db)}
        found = audit.dead_letters(rows, {rig.service: await audit_sql.lost_dead_letters(db)})
        parked = audit.parked({rig.service: await audit_sql.parked_rows(db)})
    assert found.holds, found.broken
    assert parked.holds, parked.broken


# Finding ----------------------------------------------------------------------------------------------------------------


async def test_letters_are_found_by_order_topic_cause_and_id_and_counted_by_cause(depot: OperatorRig) -> None:
    _, (one, other) = await given_up(depot, 2)
    await depot.send_raw(REQUESTS, uuid4(), b'{"orderId": "%s", "customerId": ' % str(one).encode())
    await depot.letters(one, 2)
    assert {row["cause"] for row in (await depot("dead-letters", "list", "--order", one)).rows} == {
        "RaiseError",
        "Undecodable",
    }
    undecodable = (await depot("dead-letters", "list", "--order", one, "--cause", "undecodable")).row
    assert (undecodable["topic"], undecodable["order_key"], undecodable["attempts"]) == (REQUESTS, str(one), 1)
    assert undecodable["reason"].startswith("not a DeliveryRequestMessage")
    failed = (await depot("dead-letters", "list", "--order", other, "--topic", REQUESTS)).row
    assert (failed["status"], failed["reason"], failed["attempts"]) == ("OPEN", "the carrier is away", 3)
    shown = (await depot("dead-letters", "show", failed["id"][:8])).row
    assert json.loads(shown["value"])["orderId"] == str(other)
    counted = (await depot("dead-letters", "list", "--by-cause", "--cause", "RaiseError")).rows
    assert {(row["topic"], row["cause"], row["last_reason"]) for row in counted} == {
        (REQUESTS, "RaiseError", "the carrier is away")
    }
    for_people = await depot("dead-letters", "list", "--order", one, json=False)
    assert undecodable["id"][:8] in for_people.out
    assert str(one) in for_people.out


NOT_THERE = {
    ("dead-letters", "show", uuid4()): (2, "no dead letter of delivery has the id"),
    ("dead-letters", "replay", uuid4(), *WHY): (2, "no dead letter of delivery has the id"),
    ("dead-letters", "replay", "the-last", *WHY): (2, "is no letter's id"),
    ("dead-letters", "replay", *WHY): (2, "say which"),
    ("dead-letters", "discard", "--all"): (2, "--why is required"),
    ("dead-letters", "replay", "--order", uuid4(), *WHY): (0, "no open letter fits; nothing was replayed"),
    ("dead-letters", "replay", "--order", uuid4(), "--dry-run"): (0, "no open letter fits; nothing would be replayed"),
    ("dead-letters", "discard", "--order", uuid4(), *WHY): (0, "no open letter fits; nothing was discarded"),
    ("dead-letters", "list", "--order", uuid4()): (0, "no dead letter fits"),
    ("dead-letters", "list", "--status", "lost"): (2, "lost is no status; there are OPEN"),
    ("dead-letters", "list", "--before", "yesterday"): (2, "yesterday is no time"),
    ("dead-letters", "import", "nothing"): (2, "there is no topic nothing-dlt or nothing.DLT"),
    ("parked", "retry", f"{REQUESTS}/0/999999"): (2, "no parked record"),
    ("parked", "retry", "order-created/0/1"): (2, "delivery read no topic order-created"),
    ("parked", "retry", "the-first"): (2, "it is written topic/partition/offset"),
    ("parked", "discard", "--all"): (2, "--why is required"),
}


async def test_what_is_not_there_is_said_and_ends_with_code_2(depot: OperatorRig) -> None:
    typed = [depot(*command, code=code) for command, (code, _) in NOT_THERE.items()]
    for answer, (_, said) in zip(await asyncio.gather(*typed), NOT_THERE.values(), strict=True):
        assert said in answer.err
        assert answer.out == ""


async def test_a_database_that_does_not_answer_is_named(depot: OperatorRig) -> None:
    closed = "postgresql://postgres@127.0.0.1:1/none"
    answer = await depot("dead-letters", "list", code=1, delivery_database_url=closed)
    assert "the database of delivery does not answer" in answer.err
    assert "ORDERSAGA_DELIVERY_DATABASE_URL" in answer.err
    others = {f"{name}_database_url": closed for name in ("order", "stock", "payment")}
    answer = await depot("parked", "list", whole=True, **others)
    assert answer.err.count("left out") == 3


# Replaying --------------------------------------------------------------------------------------------------------------


async def test_a_mended_letter_is_handled_by_the_service_that_gave_it_up_and_by_no_other_group(
    depot: OperatorRig,
) -> None:
    bad, (order_id,) = await given_up(depot)
    (letter,) = await depot.letters(order_id)
    end_before = await _log_end(depot, REQUESTS)
    await mend(depot, bad)
    outcome = (await depot("dead-letters", "replay", letter["id"], *WHY)).row
    assert (outcome["result"], outcome["order_key"]) == ("resolved", str(order_id))
    assert await delivered(depot, order_id) == "STARTED"
    assert len(await Wire(depot.settings).receive("delivery-start-topic", order_id, 1)) == 1
    assert await _log_end(depot, REQUESTS) == end_before, "nothing was written to the topic"
    (letter,) = await depot.letters(order_id)
    assert letter["status"] == "RESOLVED"
    (act,) = await depot.acts(letter["id"])
    assert (act["who"], act["what"], act["why"]) == (getpass.getuser(), "replay", "the carrier is back")
    assert (act["before"]["status"], act["after"]["status"]) == ("OPEN", "REPLAYED")
    await accounted_for(depot)


async def test_a_letter_is_replayed_once(depot: OperatorRig) -> None:
    bad, (order_id,) = await given_up(depot)
    (letter,) = await depot.letters(order_id)
    await mend(depot, bad)
    await depot("dead-letters", "replay", letter["id"], *WHY, "--who", "kim")
    for command in ("replay", "discard"):
        refused = await depot("dead-letters", command, letter["id"], *WHY, code=2)
        assert f"dead letter {letter['id']} is RESOLVED already, by kim" in refused.err
    assert "nothing was replayed" in (await depot("dead-letters", "replay", "--order", order_id, *WHY)).err


async def test_two_operators_who_replay_at_once_put_it_back_once(depot: OperatorRig) -> None:
    bad, (order_id,) = await given_up(depot)
    (letter,) = await depot.letters(order_id)
    await mend(depot, bad)
    command = [depot("dead-letters", "replay", "--order", order_id, *WHY, code=code) for code in (0, 0)]
    answers = await asyncio.gather(*command, return_exceptions=True)
    results = sorted(row["result"] for each in answers if not isinstance(each, BaseException) for row in each.rows)
    assert results == ["resolved"]
    assert len(await depot.acts(letter["id"])) == 1


async def test_a_letter_that_fails_again_is_a_new_letter_that_names_the_first(depot: OperatorRig) -> None:
    _, (order_id,) = await given_up(depot)
    (first,) = await depot.letters(order_id)
    outcome = (await depot("dead-letters", "replay", first["id"], *WHY, code=1)).row
    assert outcome["result"] == "failed again"
    assert "the carrier is away" in outcome["detail"]
    first, second = await depot.letters(order_id, 2)
    assert (first["status"], second["status"], second["follows"]) == ("SUPERSEDED", "OPEN", first["id"])
    assert (first["attempts"], second["attempts"]) == (3, 6), "as many tries again as the first time"
    shown = (await depot("dead-letters", "show", first["id"])).row
    assert shown["same_record"] == [str(first["id"]), str(second["id"])]
    assert await _dead_letter_records(depot, order_id) == 2
    await accounted_for(depot)


async def test_later_records_of_the_order_wait_behind_a_letter_put_back(depot: OperatorRig) -> None:
    bad, (order_id,) = await given_up(depot)
    (letter,) = await depot.letters(order_id)
    settings = depot.settings
    assert settings.park_attempts_max == 3
    replaying = asyncio.create_task(depot("dead-letters", "replay", letter["id"], *WHY, code=1))
    await depot.parked(order_id, 1)
    attempts = "SELECT attempts, attempts_before FROM parked WHERE order_key = $1"
    row = await depot.pool.fetchrow(attempts, order_id)
    assert row is not None
    assert row["attempts_before"] == 3
    await replaying
    await mend(depot, bad)


async def test_a_bulk_replay_stops_after_so_many_renewed_failures_and_causes_no_more(depot: OperatorRig) -> None:
    bad, order_ids = await given_up(depot, 6)
    selection = ("--topic", REQUESTS, "--cause", "RaiseError")
    everything = {row["order_key"] for row in (await depot("dead-letters", "list", *selection)).rows}
    assert set(map(str, order_ids)) <= everything
    await depot(
        "dead-letters", "discard", *selection, "--before", await _given_up_at(depot, order_ids[0]), "--why", "old"
    )
    answer = await depot("dead-letters", "replay", *selection, "--stop-after", 2, "--rate", 100, *WHY, code=1)
    results = [row["result"] for row in answer.rows]
    assert results.count("failed again") == 2
    assert results.count("not replayed") == 4
    replayed = "SELECT count(DISTINCT order_key) FROM dead_letter WHERE order_key = ANY ($1) AND status <> 'OPEN'"
    assert await depot.pool.fetchval(replayed, order_ids) == 2
    await mend(depot, bad)
    await until(lambda: _nothing_parked(depot, order_ids))
    answer = await depot("dead-letters", "replay", *selection, "--rate", 100, *WHY)
    assert {row["result"] for row in answer.rows} == {"resolved"}
    assert [await delivered(depot, each) for each in order_ids] == ["STARTED"] * 6
    await accounted_for(depot)


async def test_a_stop_that_would_stop_the_partitions_is_refused(depot: OperatorRig) -> None:
    refused = await depot("dead-letters", "replay", "--all", "--stop-after", 20, *WHY, code=2)
    assert "ORDERSAGA_STOP_FAILURES_MIN (20)" in refused.err


async def test_a_bulk_replay_keeps_to_its_rate_and_to_the_letters_it_began_with(depot: OperatorRig) -> None:
    bad, order_ids = await given_up(depot, 4)
    at = datetime.now(UTC).isoformat()
    _, (later,) = await given_up(depot)
    await mend(depot, bad)
    since = await _given_up_at(depot, order_ids[0])
    await depot("dead-letters", "discard", "--cause", "RaiseError", "--before", since, "--why", "old")
    began = datetime.now(UTC)
    await depot("dead-letters", "replay", "--cause", "RaiseError", "--before", at, "--rate", 2, *WHY)
    times = [act["at"] for each in order_ids for act in await depot.acts((await depot.letters(each))[0]["id"])]
    assert len(times) == 4
    assert (max(times) - min(times)).total_seconds() >= 1.4
    assert min(times) > began
    assert [each["status"] for each in await depot.letters(later)] == ["OPEN"]


async def test_what_nobody_retries_is_said_after_the_wait_and_stays_parked(depot: OperatorRig) -> None:
    _, (order_id,) = await given_up(depot)
    (letter,) = await depot.letters(order_id)
    await depot.pool.execute("UPDATE dead_letter SET partition = 99 WHERE id = $1", letter["id"])
    refused = await depot("dead-letters", "replay", letter["id"], *WHY, code=1)
    assert "delivery does not read delivery-request-topic/99" in refused.row["detail"]
    # A partition that the ledger knows and that no process has: as if the service were down.
    await depot.pool.execute("INSERT INTO ledger VALUES ($1, 99, 'x', 1, 0)", REQUESTS)
    try:
        answer = await depot("dead-letters", "replay", letter["id"], "--wait", "0.5", *WHY, code=1)
        assert answer.row["result"] == "waits"
        assert "does `ordersaga serve delivery` run?" in answer.row["detail"]
        again = await depot("dead-letters", "replay", letter["id"], *WHY, code=2)
        assert "is REPLAYED already" in again.err
        await accounted_for(depot)
        (queue,) = [row for row in (await depot("parked", "list")).rows if row["order_key"] == str(order_id)]
        assert (queue["partition"], queue["attempts"], queue["attempts_before"]) == (99, 3, 3)
        await depot("parked", "discard", queue["place"], "--why", "the order is settled by hand")
        (letter,) = await depot.letters(order_id)
        assert letter["status"] == "DISCARDED"
        await accounted_for(depot)
    finally:
        await depot.pool.execute("DELETE FROM ledger WHERE partition = 99")


async def _given_up_at(depot: OperatorRig, order_id: UUID) -> str:
    first: datetime = (await depot.letters(order_id))[0]["at"]
    return first.isoformat()


async def _nothing_parked(depot: OperatorRig, order_ids: list[UUID]) -> bool:
    return bool(await depot.pool.fetchval("SELECT count(*) = 0 FROM parked WHERE order_key = ANY ($1)", order_ids))


async def _log_end(depot: OperatorRig, topic: str) -> int:
    counts = await Topics(depot.settings).partition_counts([topic])
    bounds = await asyncio.to_thread(watermarks, depot.settings, [Partition(topic, n) for n in range(counts[topic])])
    return sum(high for _, high in bounds.values())


async def _dead_letter_records(depot: OperatorRig, order_id: UUID) -> int:
    return len(await Wire(depot.settings).receive(f"{REQUESTS}-dlt", order_id, 2))


# Dry runs ---------------------------------------------------------------------------------------------------------------


def place_order(order_id: UUID, product: UUID) -> Order:
    now = datetime.now(UTC)
    facts = Facts((Line(product, 1),), listed_total=5_000)
    return Order(order_id, uuid4(), "cups", 5_000, Recipient("a", None, "04524", "1", "n", None), now, now, facts)


async def put_order(orders: OperatorRig, *placed: Order) -> None:
    async with orders.pool.acquire() as db, db.transaction():
        await store.insert(db, placed)


async def test_a_dry_run_says_what_the_service_would_make_of_it_and_changes_nothing(orders: OperatorRig) -> None:
    product, live, taken, dead, unknown = uuid7(), uuid7(), uuid7(), uuid7(), uuid7()
    answers = [
        StockResponseMessage(order_id=each, product_id=product, status="SUCCESS")
        for each in (live, taken, dead, unknown)
    ]
    await orders.send(*answers)
    letters = {each: (await orders.letters(each))[0] for each in (live, taken, dead, unknown)}
    assert {letter["cause"] for letter in letters.values()} == {"Rejected"}
    await put_order(orders, place_order(live, product), place_order(dead, product))
    reserved = place_order(taken, product)
    await put_order(orders, replace(reserved, facts=replace(reserved.facts, lines=(Line(product, 1, "RESERVED"),))))
    await orders.pool.execute(
        "UPDATE saga SET status = 'FAILED', reason = 'PAYMENT_DECLINED' WHERE order_id = $1", dead
    )
    before = await orders.pool.fetch("SELECT * FROM saga ORDER BY order_id")
    ids = [str(letter["id"]) for letter in letters.values()]
    told = {row["id"]: row for row in (await orders("dead-letters", "replay", "--dry-run", *ids)).rows}
    would = {name: told[str(letter["id"])] for name, letter in letters.items()}
    assert (would[live]["changes"], would[live]["sends"]) == ({"saga": 1}, [])
    assert would[taken]["would"] == "dropped: a duplicate: no effect"
    assert (would[taken]["changes"], would[taken]["sends"]) == ({}, [])
    assert would[dead]["sends"] == ["StockRollbackRequestedMessage"]
    assert would[unknown]["problem"] == "Rejected: no order has this id"
    assert await orders.pool.fetch("SELECT * FROM saga ORDER BY order_id") == before
    assert await orders.pool.fetchval("SELECT count(*) FROM order_event WHERE order_id = ANY ($1)", list(letters)) == 0
    assert {(await orders.letters(each))[0]["status"] for each in letters} == {"OPEN"}
    table = (await orders("dead-letters", "replay", "--dry-run", *ids, json=False)).out
    assert "dropped: a duplicate: no effect" in table
    assert "nothing was changed" in table


async def test_a_dry_run_of_two_letters_of_one_order_begins_the_second_where_the_first_ends(
    orders: OperatorRig,
) -> None:
    product, order_id = uuid7(), uuid7()
    answer = StockResponseMessage(order_id=order_id, product_id=product, status="SUCCESS")
    await orders.send(answer, answer)
    await orders.letters(order_id, 2)
    await put_order(orders, place_order(order_id, product))
    first, second = (await orders("dead-letters", "replay", "--dry-run", "--order", order_id)).rows
    assert first["would"].startswith("changes saga (1)")
    assert second["would"] == "dropped: a duplicate: no effect"
    real = await orders("dead-letters", "replay", "--order", order_id, *WHY)
    assert [row["result"] for row in real.rows] == ["resolved", "resolved"]


# Editing and discarding -------------------------------------------------------------------------------------------------


async def test_an_edit_is_a_copy_that_names_the_letter_and_is_replayed_in_its_place(orders: OperatorRig) -> None:
    product, wrong, right = uuid7(), uuid7(), uuid7()
    await put_order(orders, place_order(right, product))
    await orders.send(PaymentSuccessMessage(order_id=wrong, payment_key="pk", amount=5_000, status="SUCCESS"))
    (letter,) = await orders.letters(wrong)
    shown = await orders("dead-letters", "edit", letter["id"], "--set", f"orderId={right}", "--dry-run", json=False)
    assert f'-  "orderId": "{wrong}"' in shown.out
    assert f'+  "orderId": "{right}"' in shown.out
    assert len(await orders.letters(wrong)) == 1
    why = ("--why", "the gateway mixed the orders up", "--who", "lee")
    copy = (await orders("dead-letters", "edit", letter["id"], "--set", f"orderId={right}", *why)).row
    assert (copy["follows"], copy["order_key"], copy["status"]) == (str(letter["id"]), str(right), "OPEN")
    (letter,) = await orders.letters(wrong)
    assert letter["status"] == "SUPERSEDED"
    assert codec.decode(letter["topic"], letter["value"]).order_id == wrong, "the letter stays as it was"  # type: ignore[attr-defined]
    (act,) = await orders.acts(letter["id"])
    assert (act["what"], act["who"], act["after"]["letter"]) == ("edit", "lee", copy["id"])
    assert str(wrong) in act["before"]["value"]
    assert str(right) in act["after"]["value"]
    assert "is SUPERSEDED already, by lee" in (await orders("dead-letters", "replay", letter["id"], *WHY, code=2)).err
    assert (await orders("dead-letters", "replay", copy["id"], *WHY)).row["result"] == "resolved"
    facts = await orders.pool.fetchval("SELECT facts FROM saga WHERE order_id = $1", right)
    assert json.loads(facts)["payments"][0]["state"] == "PAID"
    await accounted_for(orders)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--set", "amount=plenty"), "Expected `int | null`, got `str`"),
        (("--set", "status=PAID"), "Invalid enum value"),
        (("--value", "{"), "truncated"),
        (("--value", "null"), "the value does not fit payment-success-topic"),
        (("--set", "amount"), "name=value"),
        ((), "give the new value"),
    ],
)
async def test_an_edit_must_be_a_message_of_its_topic(orders: OperatorRig, change: tuple[str, ...], said: str) -> None:
    order_id = uuid7()
    await orders.send(PaymentSuccessMessage(order_id=order_id, payment_key="pk", amount=5_000, status="SUCCESS"))
    (letter,) = await orders.letters(order_id)
    refused = await orders("dead-letters", "edit", letter["id"], *change, *WHY, code=2)
    assert said in refused.err.replace("\n", " ")
    assert len(await orders.letters(order_id)) == 1


async def test_an_undecodable_letter_is_mended_by_an_edit(orders: OperatorRig) -> None:
    product, order_id = uuid7(), uuid7()
    await put_order(orders, place_order(order_id, product))
    await orders.send_raw("stock-response-topic", order_id, b'{"orderId":"%s","status":"SUC' % str(order_id).encode())
    (letter,) = await orders.letters(order_id)
    value = json.dumps({"orderId": str(order_id), "status": "SUCCESS"})
    again = (await orders("dead-letters", "replay", letter["id"], *WHY, code=1)).row
    assert (again["result"], "Undecodable" in again["detail"]) == ("failed again", True)
    _, second = await orders.letters(order_id, 2)
    copy = (await orders("dead-letters", "edit", second["id"], "--value", value, *WHY)).row
    assert (await orders("dead-letters", "replay", copy["id"], *WHY)).row["result"] == "resolved"
    chain = (await orders("dead-letters", "show", letter["id"])).row["same_record"]
    assert chain == [str(letter["id"]), str(second["id"]), copy["id"]]
    await accounted_for(orders)


async def test_a_discarded_letter_stays_readable_with_who_and_why(depot: OperatorRig) -> None:
    _, (order_id,) = await given_up(depot)
    (letter,) = await depot.letters(order_id)
    await depot("dead-letters", "discard", letter["id"], "--why", "settled by hand", "--who", "park")
    shown = (await depot("dead-letters", "show", letter["id"])).row
    assert shown["status"] == "DISCARDED"
    assert [(act["what"], act["who"], act["why"]) for act in shown["acts"]] == [("discard", "park", "settled by hand")]
    assert "park" in (await depot("dead-letters", "show", letter["id"], json=False)).out
    await accounted_for(depot)
    await depot.pool.execute("DELETE FROM operator_act WHERE target = $1", str(letter["id"]))
    with pytest.raises(AssertionError, match="nobody has said why"):
        await accounted_for(depot)
    await depot.pool.execute("DELETE FROM dead_letter WHERE id = $1", letter["id"])


# Parked records ---------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def slow(stack: DevStack) -> AsyncIterator[OperatorRig]:
    """A service that waits a minute before the next try."""
    async with operator_rig(
        stack, "delivery", delivery, delivery_handlers.handler, delivery_app.create_app, park_backoff_ms=60_000
    ) as rig:
        await rig.pool.execute(FAILING)
        yield rig


async def test_parked_records_are_listed_tried_at_once_and_discarded_one_after_the_other(slow: OperatorRig) -> None:
    bad, order_id, other = zipcode(), uuid7(), uuid7()
    await break_down(slow, bad)
    await slow.send(ask(order_id, bad), ask(other, bad))
    await slow.parked(order_id, 1)
    await slow.send(ask(order_id, bad), ask(order_id))
    await slow.parked(order_id, 3)
    (queue,) = [row for row in (await slow("parked", "list")).rows if row["order_key"] == str(order_id)]
    assert (queue["records"], queue["attempts"], queue["cause"], queue["reason"]) == (
        3,
        1,
        "RaiseError",
        "the carrier is away",
    )
    assert datetime.fromisoformat(queue["due_at"]) > datetime.now(UTC)
    assert "1 of 3" in (await slow("parked", "list", json=False)).out

    assert (await slow("parked", "retry", queue["place"])).row["result"] == "due now"
    tries = "SELECT attempts FROM parked WHERE order_key = $1 ORDER BY record_offset LIMIT 1"
    await until(lambda: _equals(slow, tries, order_id, 2))

    topic, partition, _ = queue["place"].rsplit("/", 2)
    offsets = await slow.pool.fetch("SELECT record_offset FROM parked WHERE order_key = $1 ORDER BY 1", order_id)
    behind = f"{topic}/{partition}/{offsets[1][0]}"
    assert f"{behind} waits behind {queue['place']}" in (await slow("parked", "discard", behind, *WHY, code=2)).err
    said = (await slow("parked", "discard", queue["place"], "--why", "a test order", "--who", "kim")).row
    assert said["result"] == "discarded; 2 waited behind it"
    await until(lambda: _equals(slow, tries, order_id, 1))
    (discarded,) = await slow.letters(order_id)
    assert (discarded["status"], discarded["attempts"], discarded["reason"]) == ("DISCARDED", 2, "the carrier is away")
    assert codec.decode(topic, discarded["value"]).order_id == order_id  # type: ignore[attr-defined]
    (_, act) = await slow.acts(queue["place"])
    assert (act["what"], act["who"], act["why"]) == ("parked discard", "kim", "a test order")
    await accounted_for(slow)

    await mend(slow, bad)
    assert len((await slow("parked", "retry", "--all")).rows) == 2
    await slow.parked(order_id, 0)
    await slow.parked(other, 0)
    assert (await delivered(slow, order_id), await delivered(slow, other)) == ("STARTED", "STARTED")
    assert "nothing is parked" in (await slow("parked", "list", json=False)).out
    assert "nothing is parked that fits" in (await slow("parked", "retry", "--all")).err


async def test_a_letter_put_back_stands_before_what_waits_of_its_order(slow: OperatorRig) -> None:
    """Its record is older: it is tried first, and the others come when it is done."""
    bad, order_id = zipcode(), uuid7()
    await break_down(slow, bad)
    await slow.send_raw(REQUESTS, order_id, b'{"orderId":"%s"}' % str(order_id).encode())
    (letter,) = await slow.letters(order_id)
    await slow.send(ask(order_id, bad))
    await slow.parked(order_id, 1)
    message = ask(order_id)
    copy = (await slow("dead-letters", "edit", letter["id"], "--value", codec.encode(message).decode(), *WHY)).row
    assert (await slow("dead-letters", "replay", copy["id"], *WHY)).row["result"] == "resolved"
    await slow.parked(order_id, 0)
    assert await slow.pool.fetchval("SELECT zipcode FROM delivery WHERE order_id = $1", order_id) == message.zipcode


async def test_a_record_that_comes_to_wait_behind_a_discarded_one_is_due_at_once(depot: OperatorRig) -> None:
    """The partition's owner knows what is parked by what it last looked up, and an operator may have discarded it since."""
    order_id, now = uuid7(), datetime.now(UTC)
    message = ask(order_id)
    record = Record("not-read", 0, 5, None, codec.encode(message), None, 0)
    async with depot.pool.acquire() as db:
        await Parking(depot.settings).park(db, [], [Incoming(message, record)], now)
    due_at = "DELETE FROM parked WHERE order_key = $1 RETURNING due_at"
    assert await depot.pool.fetchval(due_at, order_id) == now


async def _equals(rig: OperatorRig, query: str, order_id: UUID, value: object) -> bool:
    return bool(await rig.pool.fetchval(query, order_id) == value)


# Letters of partners ----------------------------------------------------------------------------------------------------


def spring(
    topic: str, offset: int, group: str = "order-group", cause: str = "java.lang.IllegalStateException"
) -> list[Any]:
    """What `DeadLetterPublishingRecoverer` writes."""
    return [
        ("kafka_dlt-original-topic", topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", 1)),
        ("kafka_dlt-original-offset", struct.pack(">q", offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", 1_700_000_000_000)),
        ("kafka_dlt-original-consumer-group", group.encode()),
        ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
        ("kafka_dlt-exception-cause-fqcn", cause.encode()),
        ("kafka_dlt-exception-message", b"listener failed"),
        ("kafka_dlt-exception-stacktrace", b"at shop.Order.handle"),
    ]


async def test_a_partners_letters_are_imported_once_from_either_topic_and_family(depot: OperatorRig) -> None:
    topic, first, second = FOREIGN, uuid7(), uuid7()
    await Topics(depot.settings).create([(f"{topic}.DLT", {})], 3, 1)
    await depot.send_raw(f"{topic}-dlt", first, b"{}", [*spring(topic, 7), ("__TypeId__", b"shop.Started")])
    retryable = [
        ("kafka_original-topic", topic.encode()),
        ("kafka_original-partition", struct.pack(">i", 2)),
        ("kafka_original-offset", struct.pack(">q", 9)),
        ("kafka_exception-cause-fqcn", b"java.lang.Error"),
        ("kafka_exception-message", b"no"),
        ("retry_topic-attempts", b"\x03"),
    ]
    await depot.send_raw(f"{topic}.DLT", second, b"{}", retryable)
    await depot.send_raw(f"{topic}-dlt", uuid7(), b"{}", spring(topic, 8, group=depot.settings.delivery_group))
    rows = {row["topic"]: row for row in (await depot("dead-letters", "import", topic)).rows}
    assert (rows[f"{topic}-dlt"]["new"], rows[f"{topic}-dlt"]["ours"], rows[f"{topic}.DLT"]["new"]) == (1, 1, 1)
    again = {row["topic"]: row for row in (await depot("dead-letters", "import", topic)).rows}
    assert (again[f"{topic}-dlt"]["new"], again[f"{topic}-dlt"]["known"], again[f"{topic}.DLT"]["known"]) == (0, 1, 1)
    (one,) = await depot.letters(first)
    assert (one["topic"], one["partition"], one["record_offset"], one["cause"]) == (
        topic,
        1,
        7,
        "java.lang.IllegalStateException",
    )
    assert one["imported_from"].startswith(f"{topic}-dlt/")
    assert (one["consumer_group"], one["stacktrace"]) == ("order-group", "at shop.Order.handle")
    assert one["header_names"] == ["__TypeId__"], "the headers of the record before it was given up"
    (other,) = await depot.letters(second)
    assert (other["partition"], other["record_offset"], other["cause"], other["attempts"]) == (
        2,
        9,
        "java.lang.Error",
        3,
    )
    by_class = (await depot("dead-letters", "list", "--cause", "IllegalStateException", "--order", first)).row
    assert by_class["id"] == str(one["id"])


async def test_a_partners_letter_goes_out_on_its_topic_as_the_record_it_was(depot: OperatorRig) -> None:
    topic, order_id = FOREIGN, uuid7()
    value = codec.encode(ask(order_id))  # no message of that topic at all: a partner's bytes are not ours to judge
    headers = [("trace", b"1"), ("message-id", str(uuid7()).encode()), *spring(topic, 20), ("empty", None)]
    await depot.send_raw(f"{topic}-dlt", order_id, value, headers)
    await depot("dead-letters", "import", f"{topic}-dlt")
    (letter,) = await depot.letters(order_id)
    told = (await depot("dead-letters", "replay", "--dry-run", letter["id"])).row
    assert told["would"] == f"goes out on {topic}, without __TypeId__"
    type_ids = json.dumps({topic: "completed"})
    told = (await depot("dead-letters", "replay", "--dry-run", letter["id"], type_ids=type_ids)).row
    assert told["would"] == f"goes out on {topic}, with __TypeId__"
    assert (await depot("dead-letters", "replay", letter["id"], *WHY, type_ids=type_ids)).row["result"] == "resolved"
    (record,) = await _records(depot, topic, order_id)
    (letter,) = await depot.letters(order_id)
    assert letter["status"] == "RESOLVED"
    assert record.value == value
    sent = dict(record.headers or ())
    assert (sent["trace"], sent["empty"], sent["__TypeId__"]) == (b"1", None, b"completed")
    assert sent["message-id"] == str(letter["replayed_as"]).encode()
    assert sent["causation-id"] == headers[1][1]
    assert not [name for name in sent if name.startswith("kafka_")]

    # The partner gives it up again, with the headers it came with: the new letter names the first.
    await depot.send_raw(f"{topic}-dlt", order_id, value, [*(record.headers or ()), *spring(topic, 21)])
    await depot("dead-letters", "import", topic)
    first, second = await depot.letters(order_id, 2)
    assert (first["status"], second["follows"], second["status"]) == ("SUPERSEDED", first["id"], "OPEN")
    told = (await depot("dead-letters", "replay", second["id"], "--type-id", "other", *WHY)).row
    assert told["result"] == "resolved"
    assert dict((await _records(depot, topic, order_id, 2))[1].headers or ())["__TypeId__"] == b"other"
    await accounted_for(depot)


async def test_the_wire_samples_dead_letter_is_imported_by_the_service_that_sent_its_record(stack: DevStack) -> None:
    """A malformed record that a Spring partner gave up, and that has lost its type."""
    async with bench(stack, "payment", payment, payment_handlers.handler) as one:
        rig = OperatorRig("payment", one)
        order_id = uuid7()
        value = b'{"orderId": "%s", "paymentKey": "k", "amount": ' % str(order_id).encode()
        await rig.send_raw("payment-success-topic-dlt", order_id, value, list(SAMPLE.items()), partition=2)
        await rig("dead-letters", "import", "payment-success-topic")
        (letter,) = await rig.letters(order_id)
        assert (letter["topic"], letter["partition"], letter["record_offset"]) == ("payment-success-topic", 2, 2)
        found = (await rig("dead-letters", "list", "--cause", "DeserializationException", "--order", order_id)).row
        assert found["reason"] == "failed to deserialize"
        mended = json.dumps({"orderId": str(order_id), "paymentKey": "k", "amount": 1000, "status": "SUCCESS"})
        copy = (await rig("dead-letters", "edit", letter["id"], "--value", mended, *WHY)).row
        await rig(
            "dead-letters", "replay", copy["id"], "--type-id", "com.shop.payment.message.PaymentSuccessMessage", *WHY
        )
        (record,) = await _records(rig, "payment-success-topic", order_id)
        assert record.value == mended.encode()
        assert dict(record.headers or ())["__TypeId__"] == b"com.shop.payment.message.PaymentSuccessMessage"


async def _records(rig: OperatorRig, topic: str, key: UUID, count: int = 1) -> list[Record]:
    """The first records of a key."""
    tap = await asyncio.to_thread(Tap, rig.settings, [topic], True)
    found: list[Record] = []

    async def enough() -> bool:
        found.extend(each for each in await tap.fetch(1_000, 0.1) if each.key == str(key).encode())
        return len(found) >= count

    try:
        await until(enough)
    finally:
        await asyncio.to_thread(tap.close)
    return found
