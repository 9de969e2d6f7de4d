-- name: deliveries_of_orders
-- The deliveries that orders have already.
SELECT * FROM delivery WHERE order_id = ANY (:order_ids::uuid[]);

-- name: add_deliveries$
-- Keep new deliveries; fewer than given means that another process has made one of them.
WITH added AS (
    INSERT INTO delivery (
        order_id, delivery_id, customer_id, status, tracking_number, refusal,
        address, address_detail, zipcode, phone, name, delivery_memo, at
    )
    SELECT * FROM unnest(
        :order_ids::uuid[], :delivery_ids::uuid[], :customer_ids::uuid[], :statuses::text[], :tracking_numbers::text[],
        :refusals::text[], :addresses::text[], :address_details::text[], :zipcodes::text[], :phones::text[],
        :names::text[], :delivery_memos::text[], :ats::timestamptz[]
    )
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM added;

-- name: delivery_by_either_id^
-- The delivery with this id, or of the order with this id.
SELECT * FROM delivery WHERE delivery_id = :id OR order_id = :id;

-- name: newest_deliveries
-- Deliveries of one order or of all, the newest order first, a page at a time.
SELECT * FROM delivery
WHERE (:order_id::uuid IS NULL OR order_id = :order_id) AND (:before::uuid IS NULL OR order_id < :before)
ORDER BY order_id DESC LIMIT :rows_max;
