-- The payment key that an order first hears of in this line of its timeline, as a hash: to find the order by it, without a row of its own. The
-- rows of order_payment stay, for keys that were heard of before.
ALTER TABLE order_event ADD COLUMN payment_hash bigint;
CREATE INDEX order_event_payment_idx ON order_event (payment_hash) WHERE payment_hash IS NOT NULL;
