"""`ordersaga customers erase`: nothing in four real databases names the customer any more, all else is as it was, and the audit holds."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from ordersaga.settings import SERVICES
from tests.commands import Answer, type_command
from tests.integration.audit_rig import Scene

HERS = {
    "address": "7 Haeundae-ro", "addressDetail": "Tower 3", "zipcode": "SW1A 1AA", "phone": "010-9876-5432", "name": "Lee Sora",
    "deliveryMemo": "ring twice",
}  # fmt: skip
WHY = ("--why", "she asked for it: Lee Sora")


async def typed(scene: Scene, *arguments: str, **changed: str) -> Answer:
    environment = {
        f"ORDERSAGA_{service.upper()}_DATABASE_URL": scene.settings.database_url(service) for service in SERVICES
    }
    return await asyncio.to_thread(type_command, ["customers", "erase", *arguments], environment | changed)


async def contents(scene: Scene) -> dict[str, list[str]]:
    """Every row of every table of every service, as text; bytes as they are read."""
    found = {}
    for service, db in scene.db.items():
        tables = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        for table in (row["tablename"] for row in tables):
            rows = await db.fetch(f'SELECT * FROM public."{table}"')
            found[f"{service}.{table}"] = sorted(str([_readable(each) for each in row.values()]) for row in rows)
    return found


def _readable(value: object) -> object:
    if isinstance(value, list):
        return [_readable(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


async def letter(scene: Scene, service: str, order_key: UUID | None, value: bytes) -> None:
    """A letter that an operator has discarded."""
    letter_id = uuid4()
    await scene.db[service].execute(
        "INSERT INTO dead_letter (id, status, topic, order_key, value, header_names, header_values, cause, reason, stacktrace, attempts, at, decided_at, said) "
        "VALUES ($1, 'DISCARDED', 'delivery-request-topic', $2, $3, '{kafka_exception-message}', $4, 'ValueError', $5, $5, 5, now(), now(), $6)",
        letter_id, order_key, value, [b'no carrier for name=Lee Sora, zipcode=SW1A 1AA'], "nobody delivers to SW1A 1AA",
        json.dumps([{"code": "refusal.not_served", "values": {"zipcode": "SW1A 1AA"}}]),
    )  # fmt: skip
    await scene.db[service].execute(
        'INSERT INTO operator_act (at, who, what, target, why, "before", "after") '
        "VALUES (now(), 'op', 'discard', $1, 'not to be sent', $2, '{}')",
        str(letter_id), json.dumps({"value": value.decode()}),
    )  # fmt: skip
    await scene.db[service].execute(
        "WITH job AS (INSERT INTO operator_job (id, act, dry_run, who, why, letters_per_s, failures_max, wait_s, created_at, ended_at, problem) "
        "VALUES (gen_random_uuid(), 'discard', false, 'op', 'Lee Sora asked', 1, 1, 1, now(), now(), 'at SW1A 1AA') RETURNING id) "
        "INSERT INTO operator_job_item (job_id, number, letter_id, begun_at, result, detail, said) "
        "SELECT id, 1, $1, now(), 'FAILED', 'nobody delivers to SW1A 1AA', $2 FROM job",
        letter_id, json.dumps([{"code": "refusal.not_served", "values": {"zipcode": "SW1A 1AA"}}]),
    )  # fmt: skip


@pytest.fixture
async def lived(scene: Scene) -> Scene:
    """A customer whose order has left its address wherever a service may keep one."""
    order_id = scene.completed
    request = json.dumps({"orderId": str(order_id), "customerId": str(order_id), **HERS}).encode()
    await scene.db["order"].execute("UPDATE orders SET recipient = $2 WHERE order_id = $1", order_id, json.dumps(HERS))
    await scene.db["delivery"].execute(
        "UPDATE delivery SET address = $2, address_detail = $3, zipcode = $4, phone = $5, name = $6, delivery_memo = $7 WHERE order_id = $1",
        order_id, *HERS.values(),
    )  # fmt: skip
    await scene.db["order"].execute(
        "UPDATE saga SET detail = 'nothing is delivered to zipcode SW1A 1AA' WHERE order_id = $1", order_id
    )
    await scene.believe(order_id, detailSaid=[{"code": "refusal.not_served", "values": {"zipcode": "SW1A 1AA"}}])
    await scene.db["order"].execute(
        "UPDATE order_event SET note = 'not to SW1A 1AA', said = $2 WHERE order_id = $1", order_id,
        json.dumps([{"code": "refusal.not_served", "values": {"zipcode": "SW1A 1AA"}}]),
    )  # fmt: skip
    await letter(scene, "delivery", order_id, request)
    await letter(scene, "delivery", None, b"no JSON: " + request)
    await letter(scene, "stock", order_id, b'{"text": ' + json.dumps(request.decode()).encode() + b"}")
    await scene.db["stock"].execute(  # whose record is on the dead letter topic
        "UPDATE dead_letter SET status = 'DISCARDED', order_key = $2 WHERE id = $1", scene.letter, order_id
    )
    await scene.db["stock"].execute(
        "INSERT INTO operator_act (at, who, what, target, why, \"before\", \"after\") VALUES (now(), 'op', 'discard', $1, '', '{}', '{}')",
        str(scene.letter),
    )
    await scene.db["delivery"].execute(
        'INSERT INTO operator_act (at, who, what, target, why, "before", "after", order_key) '
        "VALUES (now(), 'op', 'edit', 'a letter', 'Lee Sora moved', $1, $1, $2)",
        json.dumps({"value": request.decode()}), order_id,
    )  # fmt: skip
    return scene


async def test_nothing_names_the_customer_any_more_and_the_audit_holds(lived: Scene) -> None:
    before = await contents(lived)
    assert all(value in str(before) for value in HERS.values()), "the test plants every value"
    assert not await lived.broken()

    tried = await typed(lived, str(lived.completed), "--dry-run")
    assert tried.code == 0 and "would erase 1 address of orders and 1 of deliveries" in tried.out
    assert await contents(lived) == before, "a dry run changes nothing"

    done = await typed(lived, str(lived.completed), *WHY)
    assert done.code == 0, done
    assert "erased 1 address of orders and 1 of deliveries, and what 4 dead letters and 4 acts" in done.out
    assert "Kafka keeps delivery-request-topic for 7 days" in done.out
    after = await contents(lived)
    named = {table: row for table, rows in after.items() for row in rows for value in HERS.values() if value in row}
    assert not named
    assert not await lived.broken(), "orders, products, money and records still agree"
    for table, rows in before.items():
        theirs = [row for row in rows if str(lived.completed) not in row]
        assert set(theirs) <= set(after[table]) or table.endswith(
            ("dead_letter", "operator_job", "operator_job_item")
        ), "other customers' rows are as they were"
    for service in SERVICES:
        assert [
            row
            for row in after[f"{service}.operator_act"]
            if "erase customer" in row and "she asked for it: ***" in row
        ]

    again = await typed(lived, str(lived.completed), *WHY)
    assert again.code == 0 and "2 had been erased before" in again.out


async def test_what_the_saga_decides_from_stays_whatever_an_address_says(scene: Scene) -> None:
    order_id = scene.returned
    facts = json.loads(await scene.db["order"].fetchval("SELECT facts FROM saga WHERE order_id = $1", order_id))
    said = {
        "address": "2026",
        "addressDetail": "11",
        "zipcode": str(order_id)[9:13],
        "name": "REFUNDED",
        "deliveryMemo": "RELEASED",
    }
    said["phone"] = facts["payments"][0]["paymentKey"]
    await scene.db["order"].execute("UPDATE orders SET recipient = $2 WHERE order_id = $1", order_id, json.dumps(said))
    told = {"code": "REFUNDED", "values": {"to": "call REFUNDED"}}
    await scene.believe(order_id, detailSaid=[told], askedAt="2026-11-30T10:11:12+00:00")
    done = await typed(scene, str(order_id), *WHY)
    assert done.code == 0, done
    after = json.loads(await scene.db["order"].fetchval("SELECT facts FROM saga WHERE order_id = $1", order_id))
    assert after.pop("detailSaid") == [{"code": "REFUNDED", "values": {"to": "call ***"}}]
    assert after.pop("askedAt") == "2026-11-30T10:11:12Z"
    assert after == facts
    assert not await scene.broken()


@pytest.mark.parametrize("service", ["order", "delivery"])
async def test_a_half_that_is_erased_is_no_contradiction_and_the_next_run_erases_the_rest(
    lived: Scene, service: str
) -> None:
    """A machine that fails between two commits leaves such a half."""
    kept = {"order": ("orders", "recipient = '{}'"), "delivery": ("delivery", "name = NULL, zipcode = NULL")}
    table, nothing = kept[service]
    empty = json.dumps(dict.fromkeys(HERS))
    nothing = nothing.replace("{}", empty)
    await lived.db[service].execute(
        f"UPDATE {table} SET {nothing}, erased_at = now() WHERE order_id = $1", lived.completed
    )
    assert not await lived.broken()
    done = await typed(lived, str(lived.completed), *WHY)
    assert done.code == 0 and "1 had been erased before" in done.out
    other = "delivery" if service == "order" else "order"
    assert "Lee Sora" not in str([rows for name, rows in (await contents(lived)).items() if name.startswith(other)])


@pytest.mark.parametrize(
    ("service", "statement", "said"),
    [
        ("order", "UPDATE saga SET status = 'PENDING' WHERE order_id = '$completed'", "orders go on"),
        (
            "delivery",
            "UPDATE dead_letter SET status = 'OPEN' WHERE order_key = '$completed'",
            "1 open dead letters",
        ),
        (
            "delivery",
            "UPDATE dead_letter SET status = 'OPEN' WHERE order_key IS NULL",
            "1 open dead letters",
        ),
        (
            "payment",
            "INSERT INTO parked (topic, partition, record_offset, order_key, header_names, header_values, timestamp_ms, attempts, parked_at) "
            "VALUES ('x', 0, 0, '$completed', '{}', '{}', 0, 1, now())",
            "1 parked records",
        ),
        (
            "order",
            "INSERT INTO outbox (id, adopt_at, topic, key, message_id, traceparent) "
            "VALUES (1, now(), 'x', convert_to('$completed', 'UTF8'), gen_random_uuid(), '-')",
            "1 unpublished records",
        ),
    ],
)
async def test_while_something_still_needs_the_address_nothing_is_erased(
    lived: Scene, service: str, statement: str, said: str
) -> None:
    await lived.plant(service, statement)
    before = await contents(lived)
    refused = await typed(lived, str(lived.completed), *WHY)
    assert refused.code == 2 and said in refused.err and "Nothing was erased" in refused.err
    assert await contents(lived) == before


async def test_a_database_that_does_not_answer_keeps_the_others_as_they_are(lived: Scene) -> None:
    before = await contents(lived)
    away = await typed(
        lived, str(lived.completed), *WHY, ORDERSAGA_DELIVERY_DATABASE_URL="postgresql://u@127.0.0.1:1/delivery"
    )
    assert away.code == 1, away
    assert await contents(lived) == before


async def test_a_delivery_of_an_order_that_order_does_not_have_is_erased_with_the_carriers_reason(scene: Scene) -> None:
    customer = uuid4()
    await scene.db["delivery"].execute(
        "INSERT INTO delivery (order_id, delivery_id, customer_id, status, refusal, zipcode, at) "
        "VALUES ($1, $1, $2, 'FAILED', 'nothing is delivered to zipcode SW1A 1AA', 'SW1A 1AA', now())", scene.stray, customer,
    )  # fmt: skip
    await letter(scene, "delivery", None, json.dumps({"orderId": None, "customerId": str(customer), **HERS}).encode())
    done = await typed(scene, str(customer), *WHY)
    assert "what 1 dead letter" in done.out, "one that names the customer and no order"
    assert done.code == 0 and "erased 0 addresses of orders and 1 of deliveries" in done.out
    [row] = await scene.db["delivery"].fetch("SELECT refusal, zipcode FROM delivery WHERE order_id = $1", scene.stray)
    assert tuple(row) == ("nothing is delivered to zipcode ***", None)


async def test_misuse_says_what_is_missing(scene: Scene) -> None:
    unknown = await typed(scene, str(uuid4()), *WHY)
    assert unknown.code == 2 and "no order of customer" in unknown.err
    assert "--why is required" in (await typed(scene, str(scene.completed))).err
