-- When the personal data of an order was erased: its recipient has no content any more. Null: it was not.
ALTER TABLE orders ADD COLUMN erased_at timestamptz;
