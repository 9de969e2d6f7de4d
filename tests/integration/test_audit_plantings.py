"""Breakages planted row by row in sound data: the audit finds each one and names it, and nothing else.

One system is furnished once, broken and repaired many times. That a repair was whole is seen by the next planting, which finds its own
breakage only, and by the last test.
"""

from collections.abc import AsyncIterator

import pytest

from ordersaga.audit.mentions import mentions
from tests.integration.audit_rig import (
    AGREED,
    BOOKS,
    COMPLETE,
    GIVEN_BACK,
    HANDLED,
    IN_TIME,
    KNOWN,
    LETTER,
    LETTERS,
    OUTBOX,
    PARK,
    PARKED,
    PAYMENT,
    PRICED,
    PUBLISHED,
    RECORDED,
    SETTLED,
    STOCK,
    TIMED,
    TOLD,
    Scene,
    furnished,
)  # fmt: skip

# Statements with the scene's ids in them, as `$completed`.
COMPLETED_AS = "UPDATE saga SET facts = jsonb_set(facts::jsonb, '%s', '%s') WHERE order_id = '$completed'"
RETURNED_AS = "UPDATE saga SET facts = jsonb_set(facts::jsonb, '%s', '%s') WHERE order_id = '$returned'"
INTENT = """INSERT INTO intent (id, kind, payment_key, order_id, amount, reason, asked, status, attempt, tries, due_at, created_at)
            VALUES (gen_random_uuid(), '%s', '%s', '%s', 1000, '-', true, 'OPEN', 1, 1, %s, now())"""
TWICE = """ALTER TABLE delivery DROP CONSTRAINT delivery_pkey;
           INSERT INTO delivery (order_id, delivery_id, customer_id, status, tracking_number, address, zipcode, phone, name, delivery_memo, at)
           SELECT order_id, gen_random_uuid(), customer_id, status, 'T2', address, zipcode, phone, name, delivery_memo, at
           FROM delivery WHERE order_id = '$completed'"""


PLANTINGS = [
    pytest.param("stock", "DELETE FROM reservation WHERE order_id = '$completed'", {STOCK: "$product", COMPLETE: "$completed"}, id="a lost reservation"),
    pytest.param("stock", "UPDATE reservation SET items = jsonb_set(items::jsonb, '{0,quantity}', '1') WHERE order_id = '$completed'", {STOCK: "$product", COMPLETE: "$completed", AGREED: "$completed: Order has lines of"}, id="a reservation of fewer pieces"),
    pytest.param("stock", "DELETE FROM reservation WHERE order_id = '$pending'", {STOCK: "$product", AGREED: "$pending"}, id="a pending order's reservation lost"),
    pytest.param("stock", "DELETE FROM reservation WHERE order_id = '$returned'", {AGREED: "$returned: Stock answered for product $product", STOCK: "order $returned: its reservation says 0 released, its movements 2"}, id="a released reservation lost"),
    pytest.param("stock", "DELETE FROM movement WHERE order_id = '$completed'", {STOCK: "$product"}, id="a lost movement"),
    pytest.param("stock", "INSERT INTO movement VALUES ('$stray', NULL, 'received', 3, now())", {STOCK: "$stray"}, id="a movement of no product"),
    pytest.param("stock", "UPDATE product SET reserved = reserved + 1", {STOCK: "$product"}, id="a piece taken and not booked"),
    pytest.param("stock", "UPDATE product SET received = received + 1", {STOCK: "$product"}, id="a piece received and not booked"),
    pytest.param("stock", "ALTER TABLE product DROP CONSTRAINT product_available_check; UPDATE product SET received = 1; UPDATE movement SET quantity = 1 WHERE kind = 'received'", {STOCK: "-3 available, which is below zero"}, id="less than nothing"),
    pytest.param("stock", "UPDATE reservation SET items = jsonb_set(items::jsonb, '{0,state}', '\"RESERVED\"') WHERE order_id = '$failed'", {STOCK: "$product", GIVEN_BACK: "$failed"}, id="stock of a failed order not released"),
    pytest.param("stock", "INSERT INTO reservation VALUES ('$stray', 'REFUSED', '[]', now())", {KNOWN: "$stray"}, id="stock without an order"),
    pytest.param("stock", "UPDATE product SET price = 9000", {PRICED: "Stock says 9000 won, Order says 12500"}, id="a price that Order has not heard"),
    pytest.param("order", "UPDATE price SET active = false", {PRICED: "Stock says sold, Order says not sold any more"}, id="a product that Order takes for inactive"),
    pytest.param("stock", "INSERT INTO product (product_id, name, price) VALUES ('$stray', 'mouse', 9000)", {PRICED: "$stray: Order has no price"}, id="a product that Order has not heard of"),
    pytest.param("order", "INSERT INTO price VALUES ('$stray', 'mouse', 9000, now())", {PRICED: "$stray"}, id="a price of no product"),
    pytest.param("payment", "DELETE FROM payment WHERE order_id = '$completed'", {COMPLETE: "$completed", AGREED: "$completed", BOOKS: "$completed"}, id="a lost payment"),
    pytest.param("payment", "UPDATE payment SET refunded = 1000, status = 'PARTLY_CANCELLED' WHERE order_id = '$completed'", {COMPLETE: "$completed", AGREED: "$completed", BOOKS: "$completed"}, id="a refund that the gateway has not made"),
    pytest.param("payment", "UPDATE payment SET captured = 24000, amount = 24000 WHERE order_id = '$completed'", {COMPLETE: "Payment holds 24000 won for a total of 25000 won", AGREED: "$completed", BOOKS: "$completed"}, id="another amount"),
    pytest.param("payment", "UPDATE payment SET captured = 26000, refunded = 1000, status = 'PARTLY_CANCELLED' WHERE order_id = '$completed'", {AGREED: "$completed", BOOKS: "captured 25000 won"}, id="another amount, evened out"),
    pytest.param("payment", "UPDATE payment SET refunded = 0, status = 'APPROVED' WHERE order_id = '$returned'", {GIVEN_BACK: "$returned", AGREED: "$returned", BOOKS: "$returned"}, id="a refund that is missing"),
    pytest.param("payment", "UPDATE payment SET status = 'CANCELLED' WHERE order_id = '$completed'", {AGREED: "Payment says CANCELLED, but 25000 of 25000 won are held: APPROVED is right"}, id="cancelled, and its money is held"),
    pytest.param("payment", "UPDATE payment SET status = 'FAILED' WHERE order_id = '$completed'", {AGREED: "Payment says FAILED, Order says PAID"}, id="failed, and it pays an order"),
    pytest.param("payment", "UPDATE payment SET order_id = '$failed' WHERE order_id = '$completed'", {COMPLETE: "$completed", GIVEN_BACK: "$failed", AGREED: "$completed", BOOKS: "our table has it for order $failed"}, id="a payment moved to another order"),
    pytest.param("payment", PAYMENT % ("second", "$completed", "FAILED"), {COMPLETE: "$completed", BOOKS: "second"}, id="money taken twice"),
    pytest.param("payment", PAYMENT % ("of-failed", "$failed", "APPROVED"), {GIVEN_BACK: "$failed", AGREED: "Order does not know it", BOOKS: "of-failed"}, id="money of a failed order not refunded"),
    pytest.param("payment", PAYMENT % ("of-pending", "$pending", "APPROVED"), {AGREED: "of-pending: Payment says APPROVED, Order does not know it", BOOKS: "of-pending"}, id="a payment that Order never heard of"),
    pytest.param("payment", PAYMENT % ("stray", "$stray", "APPROVED"), {KNOWN: "$stray", BOOKS: "stray"}, id="a payment without an order"),
    pytest.param("payment", "INSERT INTO payment VALUES ('begun', '$pending', NULL, 25000, 'PENDING', 0, 0, NULL, NULL, now(), NULL)", {SETTLED: "begun of order $pending: PENDING and no intent"}, id="a payment that nobody will settle"),
    pytest.param("payment", "UPDATE payment SET status = 'CANCEL_PENDING' WHERE order_id = '$completed'", {SETTLED: "CANCEL_PENDING and no intent", AGREED: "Payment says CANCEL_PENDING, but 25000 of 25000 won are held: APPROVED is right"}, id="a refund that nobody will make"),
    pytest.param("payment", INTENT % ("REFUND", "some-key", "$completed", "now() - interval '5 minutes'"), {SETTLED: "was to be tried at"}, id="an intent left lying"),
    pytest.param("payment", INTENT % ("REFUND", "some-key", "$completed", "NULL"), {SETTLED: "waits for a confirm that is not open"}, id="a refund that waits for nothing"),
    pytest.param("delivery", "DELETE FROM delivery WHERE order_id = '$completed'", {COMPLETE: "$completed"}, id="a lost delivery"),
    pytest.param("delivery", "DELETE FROM delivery WHERE order_id = '$returned'", {AGREED: "$returned: Order has delivery"}, id="a returned order's delivery lost"),
    pytest.param("delivery", "UPDATE delivery SET status = 'FAILED', tracking_number = NULL, refusal = 'no' WHERE order_id = '$completed'", {COMPLETE: "$completed"}, id="a completed order whose delivery failed"),
    pytest.param("delivery", "UPDATE delivery SET delivery_id = '$stray' WHERE order_id = '$completed'", {AGREED: "with this status: $stray"}, id="another delivery than Order believes"),
    pytest.param("delivery", TWICE, {COMPLETE: "STARTED, STARTED"}, id="delivered twice"),
    pytest.param("delivery", "UPDATE delivery SET order_id = '$failed' WHERE order_id = '$returned'", {GIVEN_BACK: "$failed", AGREED: "$returned"}, id="a failed order that is delivered"),
    pytest.param("delivery", "UPDATE delivery SET order_id = '$pending' WHERE order_id = '$returned'", {AGREED: "$pending"}, id="a pending order that is delivered"),
    pytest.param("delivery", "UPDATE delivery SET order_id = '$stray' WHERE order_id = '$returned'", {KNOWN: "$stray", AGREED: "$returned"}, id="a delivery without an order"),
    pytest.param("order", "UPDATE order_event SET status = 'COMPLETED' WHERE order_id = '$failed' AND status = 'FAILED'", {RECORDED: "$failed", TOLD: "$failed"}, id="a completion that was never sent"),
    pytest.param("order", "UPDATE order_event SET went_out = '{OrderCompletedMessage}', status = 'COMPLETED' WHERE order_id = '$failed' AND status = 'PENDING'", {RECORDED: "$failed: 0 records", TOLD: "$failed: its timeline says COMPLETED, COMPLETED, FAILED"}, id="a completion that was never published"),
    pytest.param("order", "DELETE FROM order_event WHERE order_id = '$completed' AND status = 'COMPLETED'", {RECORDED: "never completed", TOLD: "its timeline does not say when"}, id="completed without its event"),
    pytest.param("order", "UPDATE saga SET status = 'FAILED' WHERE order_id = '$completed'", {TOLD: "the last of its timeline is COMPLETED", GIVEN_BACK: "$completed", AGREED: "the order's status: Payment says ORD0001, Order says ORD0004"}, id="a status that nothing led to"),
    pytest.param("order", "DELETE FROM saga WHERE order_id = '$completed'", {TOLD: "$completed: its saga cannot be read"}, id="an order without its saga"),
    pytest.param("order", "UPDATE saga SET facts = '{}' WHERE order_id = '$completed'", {TOLD: "$completed: its saga cannot be read"}, id="facts that are none"),
    pytest.param("order", COMPLETED_AS % ("{lines,0,stock}", '"RELEASED"'), {TOLD: "its products are RELEASED"}, id="completed with its stock given back"),
    pytest.param("order", COMPLETED_AS % ("{delivery}", '"REQUESTED"'), {TOLD: "its delivery is REQUESTED"}, id="completed before it is delivered"),
    pytest.param("order", COMPLETED_AS % ("{payments}", "[]"), {TOLD: "no payment was captured", AGREED: "Order does not know it"}, id="completed without a payment"),
    pytest.param("order", COMPLETED_AS % ("{payments,0,amount}", "24000"), {AGREED: "Payment says 25000 won were captured, Order says 24000"}, id="an amount that Order believes"),
    pytest.param("order", COMPLETED_AS % ("{payments,0,paymentKey}", '"other"'), {AGREED: "Payment has no such payment"}, id="a payment that Order believes"),
    pytest.param("order", "UPDATE saga SET facts = jsonb_set(facts::jsonb, '{payments,0,state}', '\"PAID\"') WHERE order_id = '$returned'", {TOLD: "Order has not asked Payment to refund a payment that is PAID", AGREED: "Payment says 0 won are held, Order says 25000 (PAID)"}, id="a return that is not paid back for Order"),
    pytest.param("order", "UPDATE orders SET pay_before = now() - interval '2 minutes' WHERE order_id = '$pending'", {IN_TIME: "$pending", AGREED: "$pending: the end of the time to pay"}, id="an order forgotten while pending"),
    pytest.param("order", "UPDATE saga SET facts = jsonb_set(facts::jsonb, '{flag}', '\"stuck: no delivery\"') WHERE order_id = '$pending'", {IN_TIME: "stuck: no delivery"}, id="an order that is stuck"),
    pytest.param("order", RETURNED_AS % ("{payments,0,state}", '"REFUND_REQUESTED"'), {TIMED: "$returned: CANCELLED and without a timer"}, id="a refund that nobody will ask for again"),
    pytest.param("order", RETURNED_AS % ("{lines,0,stock}", '"RELEASE_REQUESTED"'), {TIMED: "$returned: CANCELLED and without a timer"}, id="a release that nobody will ask for again"),
    pytest.param("order", COMPLETED_AS % ("{payments,0,state}", '"REFUND_REQUESTED"'), {TIMED: "$completed", TOLD: "the payment that pays it is REFUND_REQUESTED"}, id="completed and asked back"),
    pytest.param("order", COMPLETED_AS % ("{deliveryId}", "null"), {AGREED: "Order has delivery None"}, id="a delivery that Order does not know"),
    pytest.param("order", "DELETE FROM timer", {TIMED: "$pending: PENDING and without a timer"}, id="a lost timer"),
    pytest.param("order", "UPDATE timer SET due_at = now() - interval '5 minutes'", {TIMED: "was due 5 minutes ago"}, id="a timer that does not fire"),
    pytest.param("order", OUTBOX % "1 minute", {PUBLISHED: "order: 1 record for order-created, the oldest 65 s old"}, id="an outbox row left"),
    pytest.param("stock", "UPDATE ledger SET next_offset = 2 WHERE topic = '$topic'", {HANDLED: "is 3 records behind"}, id="a ledger behind"),
    pytest.param("stock", "UPDATE ledger SET next_offset = 9 WHERE topic = '$topic'", {HANDLED: "stands 4 records past the log's end"}, id="a ledger past the log's end"),
    pytest.param("stock", "UPDATE ledger SET topic_id = 'other' WHERE topic = 'order-created' AND partition = 0", {HANDLED: "stock: order-created/0 the topic was deleted and made again"}, id="another topic of the same name"),
    pytest.param("stock", LETTER % "DISCARDED", {LETTERS: "no operator has said why"}, id="a dead letter discarded by nobody"),
    pytest.param("stock", LETTER % "RESOLVED", {LETTERS: "no operator has said why"}, id="a dead letter resolved by nobody"),
    pytest.param("stock", LETTER % "PUBLISHED", {LETTERS: "no operator has said why"}, id="a partner's dead letter published by nobody"),
    pytest.param("stock", LETTER % "REPLAYED", {LETTERS: "is not in the parking"}, id="a dead letter replayed into nowhere"),
    pytest.param("stock", LETTER % "SUPERSEDED", {LETTERS: "no letter follows it"}, id="a dead letter that nothing followed"),
    pytest.param("stock", PARK % "NULL", {PARKED: "order-created/3/42"}, id="a parked record that nobody will try"),
    pytest.param("stock", PARK % "now() - interval '5 minutes'", {PARKED: "was to be tried 5 minutes ago"}, id="a parked record that nobody tries"),
    # What can be changed alone in a table of Stock's.
    pytest.param("stock", "UPDATE movement SET order_id = '$pending' WHERE order_id = '$completed'", {STOCK: "order $pending: its reservation says 2 reserved, its movements 4"}, id="a movement of another order"),
    pytest.param("stock", "UPDATE movement SET order_id = '$stray' WHERE order_id = '$failed' AND kind = 'released'", {STOCK: "order $stray: its reservation says 0 released, its movements 2"}, id="a movement of an order without a reservation"),
    pytest.param("stock", "UPDATE reservation SET state = 'RELEASED' WHERE order_id = '$completed'", {STOCK: "order $completed: the reservation's state is RELEASED; its products' states give RESERVED"}, id="a reservation that says it was released"),
    pytest.param("stock", "UPDATE reservation SET state = 'RESERVED' WHERE order_id = '$returned'", {STOCK: "$returned"}, id="a reservation that says it still holds"),
    pytest.param("stock", "UPDATE reservation SET state = 'OVERTAKEN' WHERE order_id = '$pending'", {STOCK: "$pending"}, id="a reservation that says it was overtaken"),
    pytest.param("stock", "UPDATE reservation SET items = jsonb_set(items::jsonb, '{0,quantity}', '3') WHERE order_id = '$failed'", {STOCK: "order $failed: its reservation says 3 reserved, its movements 2", AGREED: "$failed: Order has lines of"}, id="a released reservation of more pieces"),
    pytest.param("stock", "UPDATE reservation SET items = jsonb_set(items::jsonb, '{0,state}', '\"REFUSED\"'), state = 'REFUSED' WHERE order_id = '$failed'", {STOCK: "order $failed: its reservation says 0 reserved, its movements 2"}, id="a reservation that says it was refused"),
    # Of Order's.
    pytest.param("order", "DELETE FROM order_event WHERE order_id = '$completed' AND came_in = 'Placed'", {TOLD: "$completed: its timeline begins at"}, id="a timeline without its beginning"),
    pytest.param("order", "DELETE FROM order_event WHERE order_id = '$completed' AND status = 'PENDING'", {TOLD: "$completed: its timeline begins at"}, id="a timeline with its end alone"),
    pytest.param("order", "DELETE FROM order_event WHERE order_id = '$pending' AND came_in = 'Placed'", {TOLD: "$pending: its timeline begins at"}, id="a pending order's timeline without its beginning"),
    pytest.param("order", "DELETE FROM order_event WHERE order_id = '$completed' AND came_in = 'PaymentSuccessMessage'", {TOLD: "$completed: Payment has answered, and its timeline has no PaymentSuccessMessage"}, id="a timeline without its payment"),
    pytest.param("order", "DELETE FROM order_event WHERE order_id = '$returned' AND came_in = 'Return'", {TOLD: "Order has asked for a release, and its timeline has no StockRollbackRequestedMessage"}, id="a timeline without its return"),
    pytest.param("order", "UPDATE order_event SET order_id = '$pending' WHERE order_id = '$failed' AND came_in = 'StockResponseMessage'", {TOLD: "$failed: Stock has answered, and its timeline has no StockResponseMessage"}, id="an event of another order"),
    pytest.param("order", "UPDATE order_event SET status = 'FAILED' WHERE order_id = '$completed' AND came_in = 'StockResponseMessage'", {TOLD: "$completed: its timeline says PENDING, FAILED"}, id="a timeline that fails and goes on"),
    pytest.param("order", "UPDATE order_event SET at = at + interval '1 day' WHERE order_id = '$failed' AND came_in = 'StockRollbackCompletedMessage'", {TOLD: "which is in the future"}, id="an event that is still to come"),
    pytest.param("order", "UPDATE order_event SET at = at + interval '3 seconds' WHERE order_id = '$pending' AND came_in = 'Placed'", {TOLD: "$pending: its timeline begins at"}, id="an order placed after it was placed"),
    pytest.param("order", "UPDATE saga SET reason = 'RETURNED' WHERE order_id = '$failed'", {TOLD: "$failed: FAILED for RETURNED, and the last of its timeline says PAYMENT_DECLINED"}, id="another reason"),
    pytest.param("order", COMPLETED_AS % ("{flag}", '"stuck: no delivery after 5 asks"'), {TOLD: "$completed: flagged though it waits for nothing: stuck"}, id="a flag that was not cleared"),
    pytest.param("order", RETURNED_AS % ("{flag}", '"given back at the gateway"'), {TOLD: "$returned: flagged though it waits for nothing"}, id="a dead order's flag that was not cleared"),
    pytest.param("order", COMPLETED_AS % ("{payments,0,meant}", "1000"), {TOLD: "1000 won of payment"}, id="money that may go back and nobody said so"),
    pytest.param("order", COMPLETED_AS % ("{listedTotal}", "24000"), {TOLD: "its products cost 24000 won and its total is 25000"}, id="a listed total that is not the total"),
    pytest.param("order", COMPLETED_AS % ("{returning}", '"REQUESTED"'), {TOLD: "its return is REQUESTED, and for its timeline NOT_REQUESTED"}, id="a return that nobody asked for"),
    pytest.param("order", COMPLETED_AS % ("{lines,0,quantity}", "1"), {COMPLETE: "$completed", AGREED: "Order has lines of"}, id="a line of fewer pieces"),
    pytest.param("order", RETURNED_AS % ("{lines,0,quantity}", "1"), {AGREED: "$returned: Order has lines of"}, id="a dead order's line of fewer pieces"),
    pytest.param("order", RETURNED_AS % ("{deliveryId}", '"$stray"'), {AGREED: "$returned: Order has delivery $stray"}, id="a dead order's other delivery"),
    pytest.param("order", RETURNED_AS % ("{payments,0,state}", '"DECLINED"'), {AGREED: "Payment says CANCELLED, Order says DECLINED"}, id="a payment that Order takes for declined"),
    pytest.param("order", "UPDATE saga SET facts = jsonb_set(facts::jsonb, '{lines,0,stock}', '\"RELEASED\"') WHERE order_id = '$pending'", {TOLD: "$pending: PENDING, and a product is RELEASED"}, id="a pending order whose product was given back"),
    pytest.param("order", "UPDATE saga SET facts = jsonb_set(facts::jsonb, '{delivery}', '\"STARTED\"') WHERE order_id = '$pending'", {TOLD: "$pending: PENDING, and its delivery is STARTED", AGREED: "$pending"}, id="a pending order that is delivered for Order"),
    pytest.param("order", "UPDATE orders SET total_amount = 24000 WHERE order_id = '$failed'", {AGREED: "$failed: the total to pay: Payment says 25000, Order says 24000"}, id="another total"),
    pytest.param("order", "UPDATE orders SET customer_id = '$stray' WHERE order_id = '$returned'", {AGREED: "$returned: delivery $returned goes to another customer", RECORDED: "$returned"}, id="another customer"),
    pytest.param("order", "UPDATE orders SET recipient = jsonb_set(recipient::jsonb, '{zipcode}', '\"63000\"') WHERE order_id = '$completed'", {AGREED: "goes to another address than the order"}, id="another address"),
    pytest.param("order", "DELETE FROM orders WHERE order_id = '$pending'", {KNOWN: "$pending", TOLD: "$pending: a saga, and no order has this id"}, id="a saga without its order"),
    pytest.param("order", "UPDATE timer SET due_at = now() + interval '2 days'", {TIMED: "$pending: its timer is due at"}, id="a timer that fires days late"),
    pytest.param("order", "UPDATE price SET version = 7", {PRICED: "until their version is above 7; it is 0"}, id="a price version that Stock never gave"),
    # Of Payment's.
    pytest.param("payment", "UPDATE payable SET total_amount = 24000 WHERE order_id = '$pending'", {AGREED: "$pending: the total to pay: Payment says 24000, Order says 25000"}, id="another total to pay"),
    pytest.param("payment", "UPDATE payable SET customer_id = '$stray' WHERE order_id = '$pending'", {AGREED: "the customer who may pay"}, id="another customer who may pay"),
    pytest.param("payment", "UPDATE payable SET pay_before = pay_before + interval '1 day' WHERE order_id = '$pending'", {AGREED: "the end of the time to pay"}, id="another end of the time to pay"),
    pytest.param("payment", "UPDATE payable SET status = 'ORD0001' WHERE order_id = '$failed'", {AGREED: "$failed: the order's status: Payment says ORD0001, Order says ORD0004"}, id="a dead order that may be paid"),
    pytest.param("payment", "DELETE FROM payable WHERE order_id = '$pending'", {AGREED: "$pending: Order waits for its payment, and Payment does not know"}, id="an order that cannot be paid"),
    pytest.param("payment", "UPDATE payment SET status = 'PARTLY_CANCELLED' WHERE order_id = '$returned'", {AGREED: "Payment says PARTLY_CANCELLED, but 0 of 25000 won are held: CANCELLED is right"}, id="refunded whole, and in part for Payment"),
    pytest.param("payment", "UPDATE payment SET customer_id = '$stray' WHERE order_id = '$completed'", {AGREED: "is of customer $stray"}, id="a payment of another customer"),
    pytest.param("payment", PAYMENT % ("of-pending", "$pending", "APPROVED") + "; UPDATE payment SET approved_at = NULL WHERE payment_key = 'of-pending'", {AGREED: "of-pending: Payment says APPROVED, Order does not know it", BOOKS: "of-pending"}, id="a payment without the time of its approval"),
    pytest.param("payment", INTENT % ("REFUND", "some-key", "$completed", "now()"), {SETTLED: "open, and there is no such payment"}, id="an intent of no payment"),
    pytest.param("payment", INTENT % ("REFUND", "some-key", "$completed", "now() + interval '1 day'"), {SETTLED: "open, and is not tried before"}, id="an intent put off for a day"),
    pytest.param("payment", INTENT % ("CONFIRM", "of-pending", "$pending", "now()") + "; INSERT INTO payment VALUES ('of-pending', '$pending', NULL, 25000, 'PENDING', 0, 0, NULL, NULL, now(), NULL)", {SETTLED: "open for 1000 won, and its payment is of 25000"}, id="an intent of another amount"),
    pytest.param("payment", INTENT % ("CONFIRM", "declined", "$completed", "now()") + "; INSERT INTO payment VALUES ('declined', '$completed', NULL, 1000, 'FAILED', 0, 0, NULL, NULL, now(), NULL)", {SETTLED: "open, and its payment is FAILED"}, id="a confirm that is open after its payment failed"),
    pytest.param("payment", INTENT % ("CONFIRM", "moved", "$completed", "now()") + "; INSERT INTO payment VALUES ('moved', '$pending', NULL, 1000, 'PENDING', 0, 0, NULL, NULL, now(), NULL)", {SETTLED: "open, and its payment is of order $pending"}, id="an intent of another order"),
    # Of Delivery's.
    pytest.param("delivery", "UPDATE delivery SET customer_id = '$stray' WHERE order_id = '$completed'", {AGREED: "delivery $completed goes to another customer than the order"}, id="a delivery to another customer"),
    pytest.param("delivery", "UPDATE delivery SET phone = '010-1' WHERE order_id = '$completed'", {AGREED: "delivery $completed goes to another address than the order"}, id="a delivery to another address"),
    # Of the runtime's.
    pytest.param("stock", "DELETE FROM dead_letter", {LETTERS: "is dead letter $letter of order-created/0/42, and has no row"}, id="a dead letter whose row is gone"),
    pytest.param("stock", "UPDATE dead_letter SET record_offset = 7", {LETTERS: "$letter of order-created/0/42, and its row says order-created/0/7"}, id="a dead letter of another record"),
    pytest.param("stock", "UPDATE dead_letter SET value = '{}'", {LETTERS: "$letter of order-created/0/42, and its row has another value"}, id="a dead letter of another value"),
    pytest.param("stock", PARK % "now() + interval '1 day'", {PARKED: "which is not tried before"}, id="a parked record put off for a day"),
    pytest.param("order", OUTBOX % "-1 day", {PUBLISHED: "no instance takes one over before"}, id="an outbox row that nobody adopts"),
    pytest.param("order", OUTBOX % "0" + "; UPDATE outbox SET leased_until = now() + interval '1 day'", {PUBLISHED: "no instance takes one over before"}, id="an outbox row that is leased for a day"),
]  # fmt: skip


@pytest.fixture(scope="module")
async def kept(scene_databases: Scene) -> AsyncIterator[Scene]:
    """Sound data, and a copy of all of it."""
    async with furnished(scene_databases) as made:
        await made.keep()
        yield made


@pytest.mark.parametrize(("database", "statement", "broken"), PLANTINGS)
async def test_planted_breakage_is_named_and_gone_after_repair(
    kept: Scene, database: str, statement: str, broken: dict[str, str]
) -> None:
    await kept.plant(database, statement)
    try:
        found = await kept.broken()
    finally:
        await kept.repair(database)
    assert found.keys() == broken.keys(), found
    for invariant, named in broken.items():
        assert any(kept.named(named) in what for what in found[invariant]), found[invariant]
        for what in found[invariant]:
            about = mentions(what, about_products=invariant in (STOCK, PRICED))
            assert about.order_id or about.product_id or about.letter_id or about.topic, what


async def test_the_last_repair_was_whole(kept: Scene) -> None:
    assert await kept.broken() == {}
