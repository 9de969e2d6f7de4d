-- name: deliveries_of_orders
-- The deliveries that these orders have.
SELECT * FROM delivery WHERE order_id = ANY (:order_ids::uuid[]);

-- name: delivery_by_either_id^
-- The delivery with this id, or of the order with this id.
SELECT * FROM delivery WHERE delivery_id = :id OR order_id = :id;

-- name: newest_deliveries
-- Deliveries of one order or of all, the newest order first, a page at a time.
SELECT * FROM delivery
WHERE (:order_id::uuid IS NULL OR order_id = :order_id) AND (:before::uuid IS NULL OR order_id < :before)
ORDER BY order_id DESC LIMIT :rows_max;
