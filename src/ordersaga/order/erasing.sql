-- part: erasable
-- Orders, their sagas, and when something happened to them last.
SELECT o.order_id, o.recipient, o.erased_at, s.status, s.detail, s.facts,
    coalesce((SELECT e.at FROM order_event e WHERE e.order_id = o.order_id ORDER BY e.seq DESC LIMIT 1), o.placed_at) AS last_at
FROM orders o JOIN saga s USING (order_id)

-- name: orders_of_customer
-- The orders of a customer, whose sagas stand still until the transaction ends.
{erasable}
WHERE o.customer_id = :customer_id ORDER BY o.order_id FOR UPDATE OF s;

-- name: orders_between
-- Orders in the sequence of their ids, which is that of their ages. The range stands at both tables, as in `find_orders`.
{erasable}
WHERE o.order_id > :after AND o.order_id < :below AND s.order_id > :after AND s.order_id < :below
ORDER BY o.order_id LIMIT :rows_max FOR UPDATE OF s;

-- name: orders_by_id
-- These orders.
{erasable}
WHERE o.order_id = ANY (:order_ids::uuid[]) ORDER BY o.order_id FOR UPDATE OF s;

-- name: erase_recipients!
-- Empty the addresses of orders.
UPDATE orders SET recipient = :nothing, erased_at = :now WHERE order_id = ANY (:order_ids::uuid[]) AND erased_at IS NULL;

-- name: rewrite_saga!
-- Replace a saga's texts.
UPDATE saga SET detail = :detail, facts = :facts WHERE order_id = :order_id;

-- name: notes
-- The notes in the timelines of orders.
SELECT order_id, seq, note, said FROM order_event WHERE order_id = ANY (:order_ids::uuid[]) AND note IS NOT NULL;

-- name: rewrite_note!
-- Replace a note.
UPDATE order_event SET note = :note, said = :said WHERE order_id = :order_id AND seq = :seq;
