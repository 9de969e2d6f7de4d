-- transactional: false
-- The orders that a process of an older version places during an upgrade, whose search words `searchable.py` adds. Otherwise it is empty.
DROP INDEX CONCURRENTLY IF EXISTS orders_unsearched_idx;
CREATE INDEX CONCURRENTLY orders_unsearched_idx ON orders (order_id) WHERE search_words IS NULL;
