-- The sayings of a note (ordersaga/said.py), by which pages in another language tell it. Null: it has none, or was written before.
ALTER TABLE order_event ADD COLUMN said text;
