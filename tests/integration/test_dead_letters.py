"""Dead letters on real Kafka and PostgreSQL, by the commands that an operator types, against a running service: found, replayed, discarded.

The Delivery service fails as told, and is mended when told (see `operator_rig.py`).
"""

import asyncio
import getpass
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import Partition, Topics, watermarks
from tests.integration.failing_depot import REQUESTS, delivered, failing_depot, given_up, mend
from tests.integration.operator_rig import WHY, OperatorRig, accounted_for, until
from tests.integration.service import Wire


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def depot(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with failing_depot(stack) as rig:
        yield rig


# Finding ---------------------------------------------------------------------------------------------------------------


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
    ("parked", "retry", "the-first"): (2, "write topic/partition/offset"),
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
    others: dict[str, Any] = {f"{name}_database_url": f"{closed}_{name}" for name in ("order", "stock", "payment")}
    answer = await depot("parked", "list", whole=True, **others)
    assert answer.err.count("left out") == 3


# Replaying -------------------------------------------------------------------------------------------------------------


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


async def test_a_replay_waits_for_the_turn_that_the_partitions_owner_is_in(depot: OperatorRig) -> None:
    """Were it not to, that turn could take the head of a queue out while the letter is lined up behind it, for ever."""
    bad, (order_id,) = await given_up(depot)
    (letter,) = await depot.letters(order_id)
    await mend(depot, bad)
    async with depot.pool.acquire() as owner, owner.transaction():
        fence = "SELECT FROM ledger WHERE topic = $1 AND partition = $2 FOR UPDATE"
        await owner.execute(fence, REQUESTS, letter["partition"])
        replaying = asyncio.create_task(depot("dead-letters", "replay", letter["id"], *WHY))
        await until(lambda: _waits_for_a_lock(depot))
        assert (await depot.letters(order_id))[0]["status"] == "OPEN"
    assert (await replaying).row["result"] == "resolved"


async def _waits_for_a_lock(depot: OperatorRig) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ordersaga operator' AND wait_event_type = 'Lock'"
    return bool(await depot.pool.fetchval(query + " AND datname = current_database()"))


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
        await depot("parked", "discard", queue["record"], "--why", "the order is settled by hand")
        (letter,) = await depot.letters(order_id)
        assert letter["status"] == "DISCARDED"
        await accounted_for(depot)
    finally:
        await depot.pool.execute("DELETE FROM ledger WHERE partition = 99")


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
    with pytest.raises(AssertionError, match="no operator has said why"):
        await accounted_for(depot)
    await depot.pool.execute("DELETE FROM dead_letter WHERE id = $1", letter["id"])


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
