-- name: merge_payables!
-- Upsert payables. A payable that says that nobody may pay is never changed again.
INSERT INTO payable AS p (order_id, customer_id, total_amount, pay_before, status)
SELECT * FROM unnest(:order_ids::uuid[], :customer_ids::uuid[], :total_amounts::int[], :pay_befores::timestamptz[], :statuses::text[])
    AS t (order_id, customer_id, total_amount, pay_before, status)
ORDER BY t.order_id
ON CONFLICT (order_id) DO UPDATE
SET customer_id = excluded.customer_id, total_amount = excluded.total_amount, pay_before = excluded.pay_before, status = excluded.status
WHERE p.status = :payable_status;

-- name: payables
-- The payables of these orders.
SELECT order_id, customer_id, total_amount, pay_before, status FROM payable WHERE order_id = ANY (:order_ids::uuid[]);

-- name: begin_payments
-- Insert payments that are about to be confirmed. A known key, or an order with another open or captured payment, inserts nothing.
INSERT INTO payment (payment_key, order_id, customer_id, amount, status, captured, refunded, requested_at)
SELECT payment_key, order_id, customer_id, amount, 'PENDING', 0, 0, :now
FROM unnest(:payment_keys::text[], :order_ids::uuid[], :customer_ids::uuid[], :amounts::int[])
    AS t (payment_key, order_id, customer_id, amount)
ORDER BY order_id, payment_key
ON CONFLICT DO NOTHING
RETURNING payment_key;

-- name: payments
-- Payments by key.
SELECT payment_key, order_id, customer_id, amount, status, requested_at, captured, refunded, code, message, approved_at
FROM payment WHERE payment_key = ANY (:payment_keys::text[]);

-- name: settled_payments
-- The payments among these whose confirm is settled.
SELECT payment_key, order_id, customer_id, amount, status, requested_at, captured, refunded, code, message, approved_at
FROM payment WHERE payment_key = ANY (:payment_keys::text[]) AND status <> 'PENDING';

-- name: payments_of_order
-- One page of an order's payments, the oldest first; with a customer id only that customer's.
SELECT payment_key, order_id, customer_id, amount, status, requested_at, captured, refunded, code, message, approved_at
FROM payment WHERE order_id = :order_id AND (:customer_id::uuid IS NULL OR customer_id = :customer_id::uuid)
    AND (:after_at::timestamptz IS NULL OR (requested_at, payment_key) > (:after_at, :after_key::text))
ORDER BY requested_at, payment_key LIMIT :rows_max;

-- name: lock_payments
-- Lock payments that will change, in key order.
SELECT payment_key, order_id, customer_id, amount, status, requested_at, captured, refunded, code, message, approved_at
FROM payment WHERE payment_key = ANY (:payment_keys::text[]) ORDER BY payment_key FOR UPDATE;

-- name: lock_intents
-- Lock all intents of these payments, in id order. The payments are locked before.
WITH theirs AS MATERIALIZED (SELECT id FROM intent WHERE payment_key = ANY (:payment_keys::text[]))
SELECT i.id, i.kind, i.payment_key, i.order_id, i.amount, i.reason, i.created_at, i.due_at, i.asked, i.status, i.attempt, i.tries, i.message,
    i.request_id, i.traceparent
FROM theirs JOIN intent i USING (id) ORDER BY i.id FOR UPDATE OF i;

-- name: taken_orders
-- The orders among these that have an open or captured payment.
SELECT order_id FROM payment
WHERE order_id = ANY (:order_ids::uuid[]) AND status IN ('PENDING', 'APPROVED', 'CANCEL_PENDING', 'PARTLY_CANCELLED');

-- name: put_payments!
-- Upsert payments, and notify the processes in which a request waits who settled them; NULL: no confirm is settled, and nobody is notified.
WITH saved AS (
    INSERT INTO payment AS p
        (payment_key, order_id, customer_id, amount, status, requested_at, captured, refunded, code, message, approved_at)
    SELECT * FROM unnest(
        :payment_key::text[], :order_id::uuid[], :customer_id::uuid[], :amount::int[], :status::text[], :requested_at::timestamptz[],
        :captured::bigint[], :refunded::bigint[], :code::text[], :message::text[], :approved_at::timestamptz[])
    ON CONFLICT (payment_key) DO UPDATE
    SET status = excluded.status, captured = excluded.captured, refunded = excluded.refunded, code = excluded.code,
        message = excluded.message, approved_at = excluded.approved_at
)
SELECT pg_notify('payment_settled', :settled_by::text) WHERE :settled_by::text IS NOT NULL;

-- name: put_intents!
-- Upsert intents.
INSERT INTO intent AS i
    (id, kind, payment_key, order_id, amount, reason, created_at, due_at, asked, status, attempt, tries, message, request_id,
     traceparent)
SELECT * FROM unnest(
    :id::uuid[], :kind::text[], :payment_key::text[], :order_id::uuid[], :amount::bigint[], :reason::text[],
    :created_at::timestamptz[], :due_at::timestamptz[], :asked::boolean[], :status::text[], :attempt::int[], :tries::int[],
    :message::text[], :request_id::text[], :traceparent::text[])
ON CONFLICT (id) DO UPDATE
SET due_at = excluded.due_at, asked = excluded.asked, status = excluded.status, attempt = excluded.attempt, tries = excluded.tries,
    message = excluded.message;

-- name: mark_look_ups!
-- Mark the open look-ups of these payments, since a webhook came. A look-up that is marked already is not written again, however many
-- webhooks come. Waits for a transaction that settles such a look-up, so that `begin_look_ups` then sees the row settled.
WITH open AS (
    SELECT id FROM intent
    WHERE payment_key = ANY (:payment_keys::text[]) AND kind = 'LOOK' AND status = 'OPEN' AND NOT asked
    ORDER BY id FOR UPDATE
)
UPDATE intent i SET asked = true FROM open WHERE i.id = open.id;

-- name: begin_look_ups!
-- Insert look-ups, each due when the pause after the payment's last look-up is over. If a payment has an open look-up, nothing is inserted
-- and the open row keeps its due time.
WITH wanted AS (
    SELECT * FROM unnest(:ids::uuid[], :payment_keys::text[], :order_ids::uuid[], :reasons::text[], :created_ats::timestamptz[],
        :due_ats::timestamptz[]) AS t (id, payment_key, order_id, reason, created_at, due_at)
), last AS (
    SELECT DISTINCT ON (payment_key) payment_key, attempt, due_at
    FROM intent WHERE payment_key = ANY (:payment_keys::text[]) AND kind = 'LOOK' AND status <> 'OPEN'
    ORDER BY payment_key, created_at DESC
)
INSERT INTO intent (id, kind, payment_key, order_id, amount, reason, created_at, due_at, asked, status, attempt, tries)
SELECT w.id, 'LOOK', w.payment_key, w.order_id, 0, w.reason, w.created_at, greatest(w.due_at, l.due_at), true, 'OPEN',
    CASE WHEN l.due_at IS NULL THEN 1 ELSE l.attempt + 1 END, 0
FROM wanted w LEFT JOIN last l USING (payment_key)
ORDER BY w.payment_key
ON CONFLICT (payment_key) WHERE kind = 'LOOK' AND status = 'OPEN' DO NOTHING;

-- name: unknown_look_ups_of_orders
-- How many look-ups there are of payments without a row, for each of these orders. Look-ups are kept for an hour.
SELECT i.order_id, count(*) AS look_ups FROM intent i
WHERE i.kind = 'LOOK' AND i.order_id = ANY (:order_ids::uuid[])
  AND NOT EXISTS (SELECT FROM payment p WHERE p.payment_key = i.payment_key)
GROUP BY i.order_id;

-- name: unknown_look_ups_since$
-- How many look-ups of payments without a row were written since a time.
SELECT count(*) FROM intent i
WHERE i.kind = 'LOOK' AND i.created_at > :since AND NOT EXISTS (SELECT FROM payment p WHERE p.payment_key = i.payment_key);

-- name: prune_look_ups$
-- Delete old settled look-ups, at most `rows_max`. Confirms and refunds are kept.
WITH old AS (
    SELECT id FROM intent WHERE kind = 'LOOK' AND created_at < :before AND status <> 'OPEN' LIMIT :rows_max
), gone AS (
    DELETE FROM intent i USING old WHERE i.id = old.id RETURNING 1
)
SELECT count(*) FROM gone;

-- name: active_payments
-- The open or captured payment of each of these orders.
SELECT payment_key, order_id, customer_id, amount, status, requested_at, captured, refunded, code, message, approved_at
FROM payment
WHERE order_id = ANY (:order_ids::uuid[]) AND status IN ('PENDING', 'APPROVED', 'CANCEL_PENDING', 'PARTLY_CANCELLED');

-- name: postponed_confirms
-- The payments among these that have a postponed confirm.
SELECT DISTINCT payment_key FROM intent
WHERE payment_key = ANY (:payment_keys::text[]) AND kind = 'CONFIRM' AND status = 'OPEN' AND tries > 0;

-- name: advance_intents
-- Set another attempt or a later due time on open intents, unless another process has changed the attempt meanwhile.
WITH mine AS (
    SELECT i.id, t.attempt, t.tries, t.due_at, t.message
    FROM intent i
    JOIN unnest(:ids::uuid[], :from_attempts::int[], :attempts::int[], :tries::int[], :due_ats::timestamptz[], :messages::text[])
        AS t (id, from_attempt, attempt, tries, due_at, message) USING (id)
    WHERE i.status = 'OPEN' AND i.attempt = t.from_attempt
    ORDER BY i.id FOR UPDATE OF i
)
UPDATE intent i SET attempt = mine.attempt, tries = mine.tries, due_at = mine.due_at, message = mine.message
FROM mine WHERE i.id = mine.id
RETURNING i.id;

-- name: claim_due
-- Lease intents that are due, the longest due first and look-ups last: no other process claims them before `lease_until`. Clears a look-up's
-- mark, so that a webhook after this claim marks it again.
WITH work AS (
    SELECT id, due_at FROM intent WHERE status = 'OPEN' AND kind <> 'LOOK' AND due_at <= :now
    ORDER BY due_at, id LIMIT :rows_max FOR UPDATE SKIP LOCKED
), look_ups AS (
    SELECT id, due_at FROM intent WHERE status = 'OPEN' AND kind = 'LOOK' AND due_at <= :now
    ORDER BY due_at, id LIMIT :look_ups_max FOR UPDATE SKIP LOCKED
), due AS (
    SELECT id, due_at FROM work UNION ALL SELECT id, due_at FROM look_ups
), claimed AS (
    UPDATE intent i SET due_at = :lease_until, asked = i.asked AND i.kind <> 'LOOK' FROM due WHERE i.id = due.id
    RETURNING i.id, i.kind, i.payment_key, i.order_id, i.amount, i.reason, i.created_at, i.due_at, i.asked, i.status, i.attempt, i.tries,
        i.message, i.request_id, i.traceparent, due.due_at AS was_due_at
)
SELECT id, kind, payment_key, order_id, amount, reason, created_at, due_at, asked, status, attempt, tries, message, request_id,
    traceparent
FROM claimed ORDER BY kind = 'LOOK', was_due_at, id;

-- name: extend_leases!
-- Extend the leases of intents in flight. Skips a locked row: another transaction is settling that intent, which then needs no lease.
WITH mine AS (
    SELECT id FROM intent WHERE id = ANY (:ids::uuid[]) AND status = 'OPEN' ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE intent i SET due_at = :lease_until FROM mine WHERE i.id = mine.id;

-- name: open_intents
-- How many intents are open, how many of them were written before a time, and the message of the oldest one with a message.
SELECT count(*) AS open, count(*) FILTER (WHERE created_at < :before) AS late,
    (SELECT message FROM intent WHERE status = 'OPEN' AND message IS NOT NULL ORDER BY created_at LIMIT 1) AS message
FROM intent WHERE status = 'OPEN';
