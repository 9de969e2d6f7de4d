-- name: orders
-- Every order with what its saga knows, how it is timed, and whether a record of it is parked, in id order.
SELECT o.order_id, o.customer_id, o.total_amount, o.pay_before, s.status, s.reason, s.facts, e.last_at, e.last_status, e.completed_at,
       e.completion_sent, t.due_at AS timer_due_at, p.order_key IS NOT NULL AS is_parked
FROM orders o
LEFT JOIN saga s USING (order_id)
CROSS JOIN LATERAL (
    SELECT max(at) AS last_at, (array_agg(status ORDER BY seq DESC))[1] AS last_status,
           min(at) FILTER (WHERE status = 'COMPLETED') AS completed_at,
           coalesce(bool_or('OrderCompletedMessage' = ANY (went_out)), false) AS completion_sent
    FROM order_event WHERE order_id = o.order_id
) e
LEFT JOIN timer t ON t.key = o.order_id
LEFT JOIN (SELECT DISTINCT order_key FROM parked) p ON p.order_key = o.order_id
ORDER BY o.order_id;

-- name: unpublished
-- Orders of which a record for a topic is still in the outbox, in id order.
SELECT DISTINCT convert_from(key, 'UTF8')::uuid AS order_id FROM outbox
WHERE topic = $1 AND length(key) = 36 ORDER BY 1;

-- name: prices
-- What Order believes that products cost.
SELECT product_id, price, changed_at FROM price ORDER BY product_id;

-- name: reservations
-- What Stock decided for each order, in id order.
SELECT order_id, state, items FROM reservation ORDER BY order_id;

-- name: payments
-- What Payment captured and refunded for each order, in id order.
SELECT order_id, payment_key, amount, status, captured, refunded, approved_at FROM payment ORDER BY order_id;

-- name: payments_by_key
-- What Payment holds by payment key, and whether the gateway's word on it is still to be heard, or to be asked for.
SELECT payment_key, p.order_id, coalesce(p.captured, 0) AS captured, coalesce(p.refunded, 0) AS refunded, i.open IS NOT NULL AS is_open
FROM payment p
FULL JOIN (SELECT payment_key, true AS open FROM intent WHERE status = 'OPEN' GROUP BY payment_key) i USING (payment_key)
ORDER BY payment_key COLLATE "C";

-- name: unsettled
-- Payments that are open and that nobody will settle: without an open intent, or with one that should have been taken up long ago.
SELECT p.payment_key, p.order_id, p.status, 'and no intent will settle it' AS problem
FROM payment p
WHERE p.status = 'PENDING'
      AND NOT EXISTS (SELECT FROM intent i WHERE i.payment_key = p.payment_key AND i.kind = 'CONFIRM' AND i.status = 'OPEN')
   OR p.status = 'CANCEL_PENDING'
      AND NOT EXISTS (SELECT FROM intent i WHERE i.payment_key = p.payment_key AND i.kind = 'REFUND' AND i.status = 'OPEN')
UNION ALL
SELECT i.payment_key, i.order_id, i.kind, 'open, was to be tried at ' || to_char(i.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
FROM intent i WHERE i.status = 'OPEN' AND i.due_at < $1::timestamptz
UNION ALL
SELECT i.payment_key, i.order_id, i.kind, 'waits for a confirm that is not open'
FROM intent i WHERE i.status = 'OPEN' AND i.due_at IS NULL
      AND NOT EXISTS (SELECT FROM intent c WHERE c.payment_key = i.payment_key AND c.kind = 'CONFIRM' AND c.status = 'OPEN');

-- name: open_intents$
-- How many things are to be done at the gateway.
SELECT count(*) FROM intent WHERE status = 'OPEN';

-- name: deliveries
-- What Delivery did for each order, in id order.
SELECT order_id, delivery_id, status FROM delivery ORDER BY order_id;

-- name: product_prices
-- What Stock's products cost.
SELECT product_id, price FROM product ORDER BY product_id;

-- name: products
-- Counters of each product beside the sums of its movements and what its reservations hold, also of one that is not there.
SELECT product_id, p.received, p.reserved, p.released, p.available,
       coalesce(m.received, 0) AS moved_in, coalesce(m.reserved, 0) AS moved_out, coalesce(m.released, 0) AS moved_back,
       coalesce(h.held, 0) AS held
FROM product p
FULL JOIN (
    SELECT product_id,
           sum(quantity) FILTER (WHERE kind = 'received') AS received,
           sum(quantity) FILTER (WHERE kind = 'reserved') AS reserved,
           sum(quantity) FILTER (WHERE kind = 'released') AS released
    FROM movement GROUP BY product_id
) m USING (product_id)
FULL JOIN (
    SELECT (item ->> 'productId')::uuid AS product_id, sum((item ->> 'quantity')::bigint) AS held
    FROM reservation, json_array_elements(items) AS item
    WHERE item ->> 'state' = 'RESERVED'
    GROUP BY 1
) h USING (product_id)
ORDER BY product_id;

-- name: outbox_rows
-- What is committed and not yet known to be published.
SELECT topic, count(*) AS rows, min(adopt_at) AS oldest FROM outbox GROUP BY topic;

-- name: ledger_rows
-- How far a service has come in each input partition.
SELECT topic, partition, topic_id, next_offset FROM ledger;

-- name: dead_letter_rows
-- Records given up, by what has become of them, topic and cause.
SELECT status, topic, cause, count(*) AS rows FROM dead_letter GROUP BY status, topic, cause ORDER BY status, rows DESC, topic, cause;

-- name: lost_dead_letters
-- Dead letters that are not what they are said to be: put back and not there, followed by nothing, given up by nobody.
SELECT d.id, d.status, d.topic, d.partition, d.record_offset,
       CASE d.status WHEN 'REPLAYED' THEN 'and is not in the parking'
                     WHEN 'SUPERSEDED' THEN 'and no letter follows it'
                     ELSE 'and nobody has said why' END AS problem
FROM dead_letter d
WHERE d.status = 'REPLAYED' AND d.replayed_as IS NULL AND NOT EXISTS (
          SELECT FROM parked p WHERE p.topic = d.topic AND p.partition = d.partition AND p.record_offset = d.record_offset)
   OR d.status = 'SUPERSEDED' AND NOT EXISTS (SELECT FROM dead_letter n WHERE n.follows = d.id)
   OR d.status IN ('DISCARDED', 'REPLAYED', 'RESOLVED') AND NOT EXISTS (
          SELECT FROM operator_act a WHERE a.target IN (d.id::text, d.topic || '/' || d.partition || '/' || d.record_offset));

-- name: parked_rows
-- Queues of parked records; `due_at` of the first is when somebody will try it.
SELECT DISTINCT ON (topic, partition, order_key) topic, partition, record_offset, attempts, due_at, cause,
       count(*) OVER (PARTITION BY topic, partition, order_key) AS rows
FROM parked ORDER BY topic, partition, order_key, record_offset;
