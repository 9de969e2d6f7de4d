-- name: orders
-- Every order with its saga, its timeline, its timer, and whether a record of it is parked, in id order. The address is a digest, so that
-- no personal data leaves the database; none where it was erased.
SELECT o.order_id, o.customer_id, o.total_amount, o.placed_at, o.pay_before,
       CASE WHEN o.erased_at IS NULL
           THEN md5(ROW(r.address, r."addressDetail", r.zipcode, r.phone, r.name, r."deliveryMemo")::text) END AS address_digest,
       s.status, s.reason, s.facts, e.first_at, e.last_at, e.statuses, e.came_in, e.went_out, e.last_reason, e.completed_at,
       e.stock_at, e.payment_at, e.delivery_at,
       t.due_at AS timer_due_at, p.order_key IS NOT NULL AS is_parked
FROM orders o
CROSS JOIN LATERAL json_to_record(o.recipient)
    AS r (address text, "addressDetail" text, zipcode text, phone text, name text, "deliveryMemo" text)
LEFT JOIN saga s USING (order_id)
CROSS JOIN LATERAL (
    SELECT min(at) AS first_at, max(at) AS last_at, array_agg(status ORDER BY seq) AS statuses, array_agg(came_in ORDER BY seq) AS came_in,
           string_agg(array_to_string(went_out, ' '), ' ') AS went_out, (array_agg(reason ORDER BY seq DESC))[1] AS last_reason,
           min(at) FILTER (WHERE status = 'COMPLETED') AS completed_at,
           max(at) FILTER (WHERE 'StockDecreaseRequestMessage' = ANY (went_out)) AS stock_at,
           max(at) FILTER (WHERE came_in = 'PaymentSuccessMessage') AS payment_at,
           max(at) FILTER (WHERE 'DeliveryRequestMessage' = ANY (went_out)) AS delivery_at
    FROM order_event WHERE order_id = o.order_id
) e
LEFT JOIN timer t ON t.key = o.order_id
LEFT JOIN (SELECT DISTINCT order_key FROM parked) p ON p.order_key = o.order_id
ORDER BY o.order_id;

-- name: orphans
-- Rows of Order's database about orders that it does not have.
SELECT order_id, 'a saga' AS what FROM saga s WHERE NOT EXISTS (SELECT FROM orders o WHERE o.order_id = s.order_id)
UNION ALL
SELECT DISTINCT order_id, 'a timeline' FROM order_event e WHERE NOT EXISTS (SELECT FROM orders o WHERE o.order_id = e.order_id)
UNION ALL
SELECT key, 'a timer' FROM timer t WHERE NOT EXISTS (SELECT FROM orders o WHERE o.order_id = t.key);

-- name: unpublished
-- Orders with a record for a topic in the outbox, in id order.
SELECT DISTINCT convert_from(key, 'UTF8')::uuid AS order_id FROM outbox
WHERE topic = $1 AND length(key) = 36 ORDER BY 1;

-- name: prices
-- Order's copy of the prices, in id order.
SELECT product_id, price, version, changed_at, active FROM price ORDER BY product_id;

-- name: reservations
-- Stock's decision on each order, in id order.
SELECT order_id, state, items FROM reservation ORDER BY order_id;

-- name: payments
-- The payments of each order with their money, in id order.
SELECT p.order_id, p.payment_key, p.customer_id, p.amount, p.status, p.captured, p.refunded, p.approved_at,
       i.payment_key IS NOT NULL AS has_open_refund
FROM payment p
LEFT JOIN (SELECT DISTINCT payment_key FROM intent WHERE kind = 'REFUND' AND status = 'OPEN') i USING (payment_key)
ORDER BY p.order_id;

-- name: payables
-- Payment's copy of who may pay how much for each order until when, in id order.
SELECT order_id, customer_id, total_amount, pay_before, status FROM payable ORDER BY order_id;

-- name: payments_by_key
-- The money of each payment key, and whether it has an open intent: Payment will then call the gateway again.
SELECT payment_key, p.order_id, coalesce(p.captured, 0) AS captured, coalesce(p.refunded, 0) AS refunded, i.open IS NOT NULL AS is_open
FROM payment p
FULL JOIN (SELECT payment_key, true AS open FROM intent WHERE status = 'OPEN' GROUP BY payment_key) i USING (payment_key)
ORDER BY payment_key COLLATE "C";

-- name: unsettled
-- Open payments that no intent will settle, and open intents that are late, put off for too long, or do not fit their payment. A webhook
-- asks for LOOKs, also of payments that Payment does not know.
SELECT p.payment_key, p.order_id, p.status, 'and no intent will settle it' AS problem
FROM payment p
WHERE p.status = 'PENDING'
      AND NOT EXISTS (SELECT FROM intent i WHERE i.payment_key = p.payment_key AND i.kind = 'CONFIRM' AND i.status = 'OPEN')
   OR p.status = 'CANCEL_PENDING'
      AND NOT EXISTS (SELECT FROM intent i WHERE i.payment_key = p.payment_key AND i.kind = 'REFUND' AND i.status = 'OPEN')
UNION ALL
SELECT payment_key, order_id, kind, problem FROM (
    SELECT i.payment_key, i.order_id, i.kind,
           CASE WHEN i.due_at < $1::timestamptz
                     THEN 'open, was to be tried at ' || to_char(i.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
                WHEN i.due_at > $2::timestamptz
                     THEN 'open, and is not tried before ' || to_char(i.due_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
                WHEN i.due_at IS NULL AND NOT EXISTS (
                         SELECT FROM intent c WHERE c.payment_key = i.payment_key AND c.kind = 'CONFIRM' AND c.status = 'OPEN')
                     THEN 'waits for a confirm that is not open'
                WHEN i.kind = 'LOOK' THEN NULL
                WHEN p.payment_key IS NULL THEN 'open, and there is no such payment'
                WHEN p.order_id <> i.order_id THEN 'open, and its payment is of order ' || p.order_id
                WHEN i.kind = 'CONFIRM' AND p.status <> 'PENDING' THEN 'open, and its payment is ' || p.status
                WHEN i.kind = 'CONFIRM' AND p.amount <> i.amount THEN 'open for ' || i.amount || ' won, and its payment is of ' || p.amount
           END AS problem
    FROM intent i LEFT JOIN payment p USING (payment_key) WHERE i.status = 'OPEN'
) each WHERE problem IS NOT NULL;

-- name: open_intents$
-- How many intents are open.
SELECT count(*) FROM intent WHERE status = 'OPEN';

-- name: deliveries
-- The deliveries of each order, in id order; the address as a digest, none where it was erased.
SELECT order_id, delivery_id, customer_id, status,
       CASE WHEN erased_at IS NULL THEN md5(ROW(address, address_detail, zipcode, phone, name, delivery_memo)::text) END AS address_digest
FROM delivery ORDER BY order_id;

-- name: product_prices
-- The prices of Stock's products and whether they are sold, in id order.
SELECT p.product_id, p.price, p.version, coalesce(l.active, true) AS active
FROM product p LEFT JOIN listing l USING (product_id) ORDER BY p.product_id;

-- name: products
-- The counters of each product, the sums of its movements, and the pieces that its reservations hold. A product that has only movements or
-- reservations is among them, without counters.
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

-- name: misplaced_movements
-- Pieces by order, product and kind, where the movements are not those of the reservation. A movement older than the last balance of its
-- product and kind may be part of that balance, and is not missed.
WITH item AS (
    SELECT r.order_id, r.at, (i ->> 'productId')::uuid AS product_id, (i ->> 'quantity')::bigint AS quantity, i ->> 'state' AS state
    FROM reservation r, json_array_elements(r.items) AS i
    WHERE i ->> 'state' IN ('RESERVED', 'RELEASED')
), wanted AS (
    SELECT order_id, product_id, 'reserved' AS kind, quantity, at FROM item
    UNION ALL
    SELECT order_id, product_id, 'released', quantity, at FROM item WHERE state = 'RELEASED'
), moved AS (
    SELECT order_id, product_id, kind, sum(quantity) AS quantity FROM movement WHERE order_id IS NOT NULL GROUP BY order_id, product_id, kind
)
SELECT order_id, product_id, kind, coalesce(w.quantity, 0) AS wanted, coalesce(m.quantity, 0) AS moved
FROM wanted w
FULL JOIN moved m USING (order_id, product_id, kind)
LEFT JOIN (SELECT product_id, kind, at FROM movement WHERE is_balance) b USING (product_id, kind)
WHERE w.quantity IS DISTINCT FROM m.quantity AND (m.quantity IS NOT NULL OR b.at IS NULL OR b.at <= w.at);

-- name: wrong_reservations
-- Reservations whose state is not the one that their items give.
SELECT r.order_id, r.state, i.given FROM reservation r
CROSS JOIN LATERAL (
    SELECT CASE WHEN bool_or(item ->> 'state' = 'RESERVED') THEN 'RESERVED'
                WHEN bool_or(item ->> 'state' = 'RELEASED') THEN 'RELEASED'
                WHEN bool_and(item ->> 'state' = 'OVERTAKEN' AND item ->> 'message' IS NULL) THEN 'OVERTAKEN'
                ELSE 'REFUSED' END AS given
    FROM json_array_elements(r.items) AS item
) i
WHERE r.state <> i.given;

-- name: outbox_rows
-- Committed records that Kafka has not acknowledged, by topic.
SELECT topic, count(*) AS rows, min(adopt_at) AS oldest, max(greatest(adopt_at, leased_until)) AS latest FROM outbox GROUP BY topic;

-- name: predecessor^
-- Until when another consumer group handled what this service reads, as the first of its partitions says.
SELECT name, handled_until FROM predecessor ORDER BY handled_until LIMIT 1;

-- name: ledger_rows
-- The service's position in each input partition.
SELECT topic, partition, topic_id, next_offset FROM ledger;

-- name: dead_letter_rows
-- How many dead letters there are, by status, topic and cause.
SELECT status, topic, cause, count(*) AS rows FROM dead_letter GROUP BY status, topic, cause ORDER BY status, rows DESC, topic, cause;

-- name: letters_by_id
-- Dead letters by their ids, to compare with their records on a dead letter topic, which keep what was erased from a letter.
SELECT id, topic, partition, record_offset, md5(value) AS value_digest, erased_at IS NOT NULL AS is_erased
FROM dead_letter WHERE id = ANY (:ids::uuid[]);

-- name: lost_dead_letters
-- Dead letters whose status is wrong: REPLAYED and not parked, SUPERSEDED without a follower, or decided on without an operator's act.
SELECT d.id, d.status, d.topic, d.partition, d.record_offset
FROM dead_letter d
WHERE d.status = 'REPLAYED' AND d.replayed_as IS NULL AND NOT EXISTS (
          SELECT FROM parked p WHERE p.topic = d.topic AND p.partition = d.partition AND p.record_offset = d.record_offset)
   OR d.status = 'SUPERSEDED' AND NOT EXISTS (SELECT FROM dead_letter n WHERE n.follows = d.id)
   OR d.status IN ('DISCARDED', 'REPLAYED', 'RESOLVED', 'PUBLISHED') AND NOT EXISTS (
          SELECT FROM operator_act a WHERE a.target IN (d.id::text, d.topic || '/' || d.partition || '/' || d.record_offset));

-- name: parked_rows
-- Queues of parked records. `due_at` of a queue's first record is the time of its next try.
SELECT DISTINCT ON (topic, partition, order_key) topic, partition, record_offset, attempts, due_at, cause,
       count(*) OVER (PARTITION BY topic, partition, order_key) AS rows
FROM parked ORDER BY topic, partition, order_key, record_offset;
