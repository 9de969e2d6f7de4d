-- part: erasable
-- Deliveries with their addresses.
SELECT order_id, delivery_id, at, refusal, address, address_detail, zipcode, phone, name, delivery_memo, erased_at FROM delivery

-- name: deliveries_between
-- Deliveries in the sequence of their own ids, which is that of their ages: another team's Order may give any ids to orders. They are locked.
{erasable}
WHERE delivery_id > :after AND delivery_id < :below
ORDER BY delivery_id LIMIT :rows_max FOR UPDATE;

-- name: deliveries_of_orders
-- The deliveries of these orders. They are locked.
{erasable}
WHERE order_id = ANY (:order_ids::uuid[]) ORDER BY order_id FOR UPDATE;

-- name: deliveries_of_customer
-- The deliveries of a customer, and of these orders. They are locked.
{erasable}
WHERE customer_id = :customer_id OR order_id = ANY (:order_ids::uuid[])
ORDER BY order_id FOR UPDATE;

-- name: erase_address!
-- Empty a delivery's address.
UPDATE delivery SET refusal = :refusal, address = NULL, address_detail = NULL, zipcode = NULL, phone = NULL, name = NULL, delivery_memo = NULL,
       erased_at = :now
WHERE order_id = :order_id;
