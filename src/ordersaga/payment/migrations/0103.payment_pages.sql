-- An order's payments are listed by time, a page at a time.
DROP INDEX payment_order_idx;
CREATE INDEX payment_order_idx ON payment (order_id, requested_at, payment_key);
