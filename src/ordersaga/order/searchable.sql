-- name: unsearched
-- The oldest orders without search words.
SELECT order_id FROM orders WHERE search_words IS NULL ORDER BY order_id LIMIT :rows_max;

-- name: save_search_words!
-- The words that an order is searched by.
UPDATE orders SET search_words = :search_words WHERE order_id = :order_id AND search_words IS NULL;
