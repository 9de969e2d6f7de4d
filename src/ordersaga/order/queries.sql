-- name: lock_orders
-- Orders with their saga rows, which are locked in id order.
SELECT o.order_id, o.customer_id, o.order_name, o.total_amount, o.recipient, o.placed_at, o.pay_before, s.status, s.reason, s.detail, s.facts, o.traceparent
FROM saga s JOIN orders o USING (order_id)
WHERE s.order_id = ANY (:order_ids::uuid[])
ORDER BY s.order_id
FOR UPDATE OF s;

-- name: orders_with_versions
-- Orders with their saga rows, not locked, and the versions of these rows. In id order, as `lock_orders` has them: the output's order follows.
SELECT o.order_id, o.customer_id, o.order_name, o.total_amount, o.recipient, o.placed_at, o.pay_before, s.status, s.reason, s.detail, s.facts, o.traceparent,
    s.xmin::text AS version
FROM saga s JOIN orders o USING (order_id)
WHERE s.order_id = ANY (:order_ids::uuid[])
ORDER BY s.order_id;

-- name: sagas_as_read
-- Those of these saga rows that still have these versions; they are locked. A row that another transaction changes is waited for and left out.
SELECT 1 FROM saga s JOIN unnest(:order_ids::uuid[], :versions::text[]) AS t (order_id, version) ON s.order_id = t.order_id AND s.xmin::text = t.version
ORDER BY s.order_id
FOR UPDATE OF s;

-- name: orders_by_id
-- Orders with their saga rows, not locked.
SELECT o.order_id, o.customer_id, o.order_name, o.total_amount, o.recipient, o.placed_at, o.pay_before, s.status, s.reason, s.detail, s.facts, o.traceparent
FROM saga s JOIN orders o USING (order_id)
WHERE s.order_id = ANY (:order_ids::uuid[]);

-- name: find_orders
-- One page of orders that fit all given filters, the newest first. Planned for its parameters, so that the index of a given filter is used. The
-- range of ids stands at both tables, since PostgreSQL carries only an equality over to the other one. Two payment keys may have the same hash;
-- the facts say which one is meant.
SELECT o.order_id, o.customer_id, o.order_name, o.total_amount, o.recipient, o.placed_at, o.pay_before, s.status, s.reason, s.detail, s.facts, o.traceparent
FROM orders o JOIN saga s USING (order_id)
WHERE (:order_id::uuid IS NULL OR o.order_id = :order_id)
  AND (:ids_below::uuid IS NULL OR (o.order_id < :ids_below AND s.order_id < :ids_below))
  AND (:ids_from::uuid IS NULL OR (o.order_id >= :ids_from AND s.order_id >= :ids_from))
  AND (:customer_id::uuid IS NULL OR o.customer_id = :customer_id)
  AND (:payment_key::text IS NULL OR (
    o.order_id = ANY (ARRAY(
      SELECT order_id FROM order_event WHERE payment_hash = :payment_hash UNION SELECT order_id FROM order_payment WHERE payment_key = :payment_key))
    AND EXISTS (SELECT FROM json_array_elements(s.facts -> 'payments') AS payment WHERE payment ->> 'paymentKey' = :payment_key)))
  AND (:status::text IS NULL OR s.status = :status)
  AND (:reason::text IS NULL OR s.reason = :reason)
  AND (:placed_before::timestamptz IS NULL OR o.placed_at < :placed_before)
  AND (:placed_after::timestamptz IS NULL OR o.placed_at >= :placed_after)
  AND (:search_words::text[] IS NULL OR o.search_words @> :search_words)
ORDER BY o.order_id DESC LIMIT :rows_max;

-- name: count_orders
-- How many of the orders from an id on have each status, at most `counted_max` of each: each number is read from the index on status alone.
SELECT each.status, (SELECT count(*) FROM (
    SELECT FROM saga s WHERE s.status = each.status AND s.order_id >= :ids_from LIMIT :counted_max) AS counted) AS orders
FROM unnest(:statuses::text[]) AS each (status);

-- name: count_reasons
-- How many of the orders from an id on have ended for each reason, at most `counted_max` for each: read from the index on the reason alone.
SELECT each.reason, (SELECT count(*) FROM (
    SELECT FROM saga s WHERE s.reason = each.reason AND s.order_id >= :ids_from LIMIT :counted_max) AS counted) AS orders
FROM unnest(:reasons::text[]) AS each (reason);

-- name: oldest_pending
-- The oldest order that has not ended.
SELECT o.order_id, o.order_name, o.placed_at
FROM (SELECT order_id FROM saga WHERE status = 'PENDING' ORDER BY order_id LIMIT 1) AS oldest JOIN orders o USING (order_id);

-- name: save_sagas!
-- Save saga rows, which exist and are locked, and notify the processes in which a request waits for an event.
-- Upsert instead of UPDATE ... FROM unnest: the upsert always uses the primary key; the join may become a sequential scan under a stale plan.
INSERT INTO saga (order_id, status, reason, detail, facts)
SELECT * FROM unnest(:order_ids::uuid[], :statuses::text[], :reasons::text[], :details::text[], :facts::json[])
ON CONFLICT (order_id)
DO UPDATE SET status = EXCLUDED.status, reason = EXCLUDED.reason, detail = EXCLUDED.detail, facts = EXCLUDED.facts
RETURNING pg_notify('order_event', '');

-- name: events_after
-- The events of orders after the last one that each watcher has seen. At most `each_max` of each order: a long timeline must not delay the others.
SELECT e.order_id, e.seq, e.at, e.came_in, e.went_out, e.status, e.reason, e.stock_known, e.note, e.said
FROM unnest(:order_ids::uuid[], :after_seqs::bigint[]) AS w (order_id, after_seq)
CROSS JOIN LATERAL (
    SELECT * FROM order_event o WHERE o.order_id = w.order_id AND o.seq > w.after_seq ORDER BY o.seq LIMIT :each_max
) e
ORDER BY e.seq;

-- name: prune_events$
-- Shorten the timelines of orders that have ended, at most `rows_max` rows at a time. The last event and the COMPLETED events stay,
-- and the events by which an order is found.
WITH old AS (
    SELECT e.order_id, e.seq FROM order_event e JOIN saga s USING (order_id)
    WHERE e.at < :before AND e.status <> 'COMPLETED' AND e.payment_hash IS NULL AND s.status <> 'PENDING'
      AND EXISTS (SELECT FROM order_event later WHERE later.order_id = e.order_id AND later.seq > e.seq)
    LIMIT :rows_max
), gone AS (
    DELETE FROM order_event e USING old WHERE e.order_id = old.order_id AND e.seq = old.seq RETURNING 1
)
SELECT count(*) FROM gone;

-- name: prices
-- The prices of products, and whether Stock still sells them.
SELECT product_id, price, active FROM price WHERE product_id = ANY (:product_ids::uuid[]);

-- name: prices_as_read
-- Those of these products that still have these prices, and that Stock still sells.
SELECT 1 FROM price p JOIN unnest(:product_ids::uuid[], :prices::int[]) AS t (product_id, price)
    ON p.product_id = t.product_id AND p.price = t.price AND p.active;

-- name: save_prices!
-- Upsert prices from Stock. A row with a higher version stays, and, of two rows without a version, the newer.
INSERT INTO price (product_id, name, price, version, changed_at, active)
SELECT * FROM unnest(:product_ids::uuid[], :names::text[], :prices::int[], :versions::bigint[], :changed_ats::timestamptz[], :actives::boolean[])
ON CONFLICT (product_id) DO UPDATE
SET name = EXCLUDED.name, price = EXCLUDED.price, version = EXCLUDED.version, changed_at = EXCLUDED.changed_at, active = EXCLUDED.active
WHERE (EXCLUDED.version, EXCLUDED.changed_at) >= (price.version, price.changed_at);
