-- name: lock_reservations
-- What was decided for orders, locked in id order, for a change.
SELECT order_id, state, items FROM reservation
WHERE order_id = ANY (:order_ids::uuid[])
ORDER BY order_id
FOR UPDATE;

-- name: lock_available
-- What is available of products, locked in id order, for a batch of requests.
SELECT product_id, available FROM product
WHERE product_id = ANY (:product_ids::uuid[])
ORDER BY product_id
FOR UPDATE;

-- name: change_reservations!
-- Keep what became of reservations that are locked.
UPDATE reservation r SET state = t.state, items = t.items
FROM unnest(:order_ids::uuid[], :states::text[], :items::json[]) AS t (order_id, state, items)
WHERE r.order_id = t.order_id;

-- name: count_movements!
-- Count movements in their products, which are locked.
UPDATE product p
SET received = p.received + t.received, reserved = p.reserved + t.reserved, released = p.released + t.released
FROM unnest(:product_ids::uuid[], :received::bigint[], :reserved::bigint[], :released::bigint[])
     AS t (product_id, received, reserved, released)
WHERE p.product_id = t.product_id;

-- name: add_products
-- Insert products without pieces; returns the ids that were free.
INSERT INTO product (product_id, name, price, version)
SELECT * FROM unnest(:product_ids::uuid[], :names::text[], :prices::int[], :versions::bigint[])
ON CONFLICT DO NOTHING
RETURNING product_id;

-- name: change_products!
-- Save names and prices of products that are locked.
UPDATE product p SET name = t.name, price = t.price, version = t.version
FROM unnest(:product_ids::uuid[], :names::text[], :prices::int[], :versions::bigint[]) AS t (product_id, name, price, version)
WHERE p.product_id = t.product_id;

-- name: lock_products
-- Products, locked in id order, for a change.
SELECT product_id, name, price, version, received, reserved, released FROM product
WHERE product_id = ANY (:product_ids::uuid[])
ORDER BY product_id
FOR UPDATE;

-- name: products_by_id
-- Products to look at.
SELECT product_id, name, price, version, received, reserved, released FROM product
WHERE product_id = ANY (:product_ids::uuid[]);

-- name: products_after
-- The catalogue in id order, a page at a time.
SELECT product_id, name, price, version, received, reserved, released FROM product
WHERE :after::uuid IS NULL OR product_id > :after
ORDER BY product_id LIMIT :rows_max;

-- name: prune_movements$
-- Sum up old movements in their product's balance, some rows at a time.
WITH gone AS (
    DELETE FROM movement WHERE ctid = ANY (ARRAY(SELECT ctid FROM movement WHERE at < :before AND NOT is_balance LIMIT :rows_max))
    RETURNING product_id, kind, quantity
), balance AS (
    INSERT INTO movement (product_id, kind, quantity, at, is_balance)
    SELECT product_id, kind, sum(quantity), :before::timestamptz, true FROM gone GROUP BY product_id, kind ORDER BY product_id, kind
    ON CONFLICT (product_id, kind) WHERE is_balance
    DO UPDATE SET quantity = movement.quantity + EXCLUDED.quantity, at = EXCLUDED.at
)
SELECT count(*) FROM gone;
