-- name: deliveries_of_customer
-- The deliveries of a customer, and of these orders. They are locked.
SELECT order_id, refusal, address, address_detail, zipcode, phone, name, delivery_memo, erased_at FROM delivery
WHERE customer_id = :customer_id OR order_id = ANY (:order_ids::uuid[])
ORDER BY order_id FOR UPDATE;

-- name: erase_address!
-- Empty a delivery's address.
UPDATE delivery SET refusal = :refusal, address = NULL, address_detail = NULL, zipcode = NULL, phone = NULL, name = NULL, delivery_memo = NULL,
       erased_at = :now
WHERE order_id = :order_id;
