-- A refund request may have an id. Two refunds of one payment with different ids are two refunds, also of equal amounts. Without an id
-- the same payment key and amount is the same refund, as before.
ALTER TABLE intent ADD COLUMN request_id text;
DROP INDEX intent_refund_once_idx;
CREATE UNIQUE INDEX intent_refund_once_idx ON intent (payment_key, amount) WHERE kind = 'REFUND' AND request_id IS NULL;
CREATE UNIQUE INDEX intent_refund_named_once_idx ON intent (payment_key, request_id) WHERE kind = 'REFUND' AND request_id IS NOT NULL;
