-- When the personal data of a delivery was erased. Null: it was not.
ALTER TABLE delivery ADD COLUMN erased_at timestamptz;
