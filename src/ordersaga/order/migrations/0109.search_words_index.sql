-- transactional: false
-- Orders by all of their search words: a product, or words of the name.
DROP INDEX CONCURRENTLY IF EXISTS orders_search_idx;
CREATE INDEX CONCURRENTLY orders_search_idx ON orders USING gin (search_words);
