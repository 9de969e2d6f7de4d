-- Operators search orders by status and by reason, the newest first. An order's status changes once or twice, and only these updates of its
-- row are not HOT.
CREATE INDEX saga_status_idx ON saga (status, order_id);
CREATE INDEX saga_reason_idx ON saga (reason, order_id) WHERE reason IS NOT NULL;

-- The orders that know a payment key: to find an order by it. A row is inserted when an order first hears of the key.
CREATE TABLE order_payment (
    payment_key text NOT NULL,
    order_id    uuid NOT NULL,
    PRIMARY KEY (payment_key, order_id)
);
INSERT INTO order_payment
SELECT DISTINCT payment ->> 'paymentKey', order_id FROM saga, json_array_elements(facts -> 'payments') AS payment;
