-- name: orders
-- Every order with what its saga knows, in id order.
SELECT o.order_id, o.total_amount, o.pay_before, s.status, s.reason, s.facts, e.last_at, e.was_completed
FROM orders o JOIN saga s USING (order_id)
CROSS JOIN LATERAL (
    SELECT max(at) AS last_at, coalesce(bool_or(status = 'COMPLETED'), false) AS was_completed
    FROM order_event WHERE order_id = o.order_id
) e
ORDER BY o.order_id;

-- name: reservations
-- What Stock decided for each order, in id order.
SELECT order_id, state, items FROM reservation ORDER BY order_id;

-- name: payments
-- What Payment captured and refunded for each order, in id order.
SELECT order_id, payment_key, amount, status, captured, refunded FROM payment ORDER BY order_id;

-- name: open_intents
-- Payments of which Payment itself says that the gateway's word is still to be heard, or to be asked for.
SELECT DISTINCT payment_key FROM intent WHERE status = 'OPEN';

-- name: deliveries
-- What Delivery did for each order, in id order.
SELECT order_id, status FROM delivery ORDER BY order_id;

-- name: products
-- Counters of each product beside the sums of its movements and what its reservations hold.
SELECT p.product_id, p.received, p.reserved, p.released, p.available,
       coalesce(m.received, 0) AS moved_in, coalesce(m.reserved, 0) AS moved_out, coalesce(m.released, 0) AS moved_back,
       coalesce(h.held, 0) AS held
FROM product p
LEFT JOIN (
    SELECT product_id,
           sum(quantity) FILTER (WHERE kind = 'received') AS received,
           sum(quantity) FILTER (WHERE kind = 'reserved') AS reserved,
           sum(quantity) FILTER (WHERE kind = 'released') AS released
    FROM movement GROUP BY product_id
) m USING (product_id)
LEFT JOIN (
    SELECT (item ->> 'productId')::uuid AS product_id, sum((item ->> 'quantity')::bigint) AS held
    FROM reservation, json_array_elements(items) AS item
    WHERE item ->> 'state' = 'RESERVED'
    GROUP BY 1
) h USING (product_id)
ORDER BY p.product_id;

-- name: outbox_rows
-- What is committed and not yet known to be published.
SELECT topic, count(*) AS rows, min(adopt_at) AS oldest FROM outbox GROUP BY topic;

-- name: ledger_rows
-- How far a service has come in each input partition.
SELECT topic, partition, next_offset FROM ledger;

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
