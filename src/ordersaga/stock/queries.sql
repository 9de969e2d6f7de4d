-- name: lock_reservations
-- The reservations of orders, locked in id order.
SELECT order_id, state, items FROM reservation
WHERE order_id = ANY (:order_ids::uuid[])
ORDER BY order_id
FOR UPDATE;

-- name: reservations_with_versions
-- The reservations of orders, not locked, with the versions of their rows.
SELECT order_id, state, items, xmin::text AS version FROM reservation WHERE order_id = ANY (:order_ids::uuid[]) ORDER BY order_id;

-- name: reservations_as_read
-- Those of these reservations that still have these versions; they are locked. One that another transaction changes is waited for and left out.
SELECT 1 FROM reservation r JOIN unnest(:order_ids::uuid[], :versions::text[]) AS t (order_id, version)
    ON r.order_id = t.order_id AND r.xmin::text = t.version
ORDER BY r.order_id
FOR UPDATE OF r;

-- name: reservation^
-- The reservation of an order, not locked, and when it was first decided.
SELECT order_id, state, items, at FROM reservation WHERE order_id = :order_id;

-- name: lock_available
-- The available pieces of products, locked in id order.
SELECT product_id, available FROM product
WHERE product_id = ANY (:product_ids::uuid[])
ORDER BY product_id
FOR UPDATE;

-- name: available
-- The available pieces of products, not locked.
SELECT product_id, available FROM product WHERE product_id = ANY (:product_ids::uuid[]);

-- name: available_as_read
-- Those of these products of which as many pieces are available as were read; their rows are locked in id order.
SELECT 1 FROM product p JOIN unnest(:product_ids::uuid[], :available::bigint[]) AS t (product_id, available)
    ON p.product_id = t.product_id AND p.available = t.available
ORDER BY p.product_id
FOR UPDATE OF p;

-- name: change_reservations!
-- Save reservations whose rows are locked.
UPDATE reservation r SET state = t.state, items = t.items
FROM unnest(:order_ids::uuid[], :states::text[], :items::json[]) AS t (order_id, state, items)
WHERE r.order_id = t.order_id;

-- name: count_movements!
-- Add movements to the counters of their products, whose rows are locked.
UPDATE product p
SET received = p.received + t.received, reserved = p.reserved + t.reserved, released = p.released + t.released
FROM unnest(:product_ids::uuid[], :received::bigint[], :reserved::bigint[], :released::bigint[])
     AS t (product_id, received, reserved, released)
WHERE p.product_id = t.product_id;

-- name: add_products
-- Insert products with zero pieces; returns the ids that were inserted.
INSERT INTO product (product_id, name, price, version)
SELECT * FROM unnest(:product_ids::uuid[], :names::text[], :prices::int[], :versions::bigint[])
ON CONFLICT DO NOTHING
RETURNING product_id;

-- name: change_products!
-- Save name, price and version of products whose rows are locked.
UPDATE product p SET name = t.name, price = t.price, version = t.version
FROM unnest(:product_ids::uuid[], :names::text[], :prices::int[], :versions::bigint[]) AS t (product_id, name, price, version)
WHERE p.product_id = t.product_id;

-- name: save_listings!
-- Upsert listings of products, which are locked or new. `search_parts` is a JSON list, since PostgreSQL has no array of arrays of different lengths.
INSERT INTO listing (product_id, description, picture, category, active, search_text, search_parts)
SELECT product_id, description, picture, category, active, search_text, ARRAY(SELECT json_array_elements_text(search_parts))
FROM unnest(:product_ids::uuid[], :descriptions::text[], :pictures::text[], :categories::text[], :actives::boolean[],
    :search_texts::text[], :search_parts::json[]) AS t (product_id, description, picture, category, active, search_text, search_parts)
ON CONFLICT (product_id) DO UPDATE
SET description = EXCLUDED.description, picture = EXCLUDED.picture, category = EXCLUDED.category, active = EXCLUDED.active,
    search_text = EXCLUDED.search_text, search_parts = EXCLUDED.search_parts;

-- name: listings
-- Listings of products, which are locked.
SELECT product_id, description, picture, category, active FROM listing WHERE product_id = ANY (:product_ids::uuid[]);

-- name: lock_products
-- Products, locked in id order.
SELECT product_id, name, price, version, received, reserved, released FROM product
WHERE product_id = ANY (:product_ids::uuid[])
ORDER BY product_id
FOR UPDATE;

-- name: products_by_id
-- Products by id, with their listings.
SELECT p.product_id, p.name, p.price, p.version, p.received, p.reserved, p.released, l.description, l.picture, l.category, l.active
FROM product p LEFT JOIN listing l USING (product_id)
WHERE p.product_id = ANY (:product_ids::uuid[]);

-- name: ids_after
-- The ids of products, in id order. Its plan is kept for all parameters, so the index finds where the page begins, also the first.
SELECT product_id FROM product
WHERE product_id >= coalesce(:after::uuid, '00000000-0000-0000-0000-000000000000') AND product_id IS DISTINCT FROM :after
ORDER BY product_id LIMIT :rows_max;

-- name: find_products
-- One page of the catalogue, in id order. Planned for its parameters, so that the index of the filter that is given is used.
SELECT p.product_id, p.name, p.price, p.version, p.received, p.reserved, p.released, l.description, l.picture, l.category, l.active
FROM listing l JOIN product p USING (product_id)
WHERE (:after::uuid IS NULL OR l.product_id > :after)
  AND (:active::boolean IS NULL OR l.active = :active)
  AND (:category::text IS NULL OR l.category = :category)
  AND (:parts::text[] IS NULL OR l.search_parts @> :parts AND l.search_text LIKE ALL (:patterns::text[]))
ORDER BY l.product_id LIMIT :rows_max;

-- name: prune_movements$
-- Replace old movements by one balance row for each product and kind. Limited, so that one run holds its locks for a short time.
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
