-- name: unsearched
-- The oldest orders without search words.
SELECT order_id FROM orders WHERE search_words IS NULL ORDER BY order_id LIMIT :rows_max;

-- name: save_search_words!
-- The words that an order is searched by.
UPDATE orders SET search_words = :search_words WHERE order_id = :order_id AND search_words IS NULL;

-- name: orders_with_parts
-- Of the newest orders, `looked_max` of them, those whose names have these parts of words, and that fit all given filters. The newest first. Only
-- products' ids have a hyphen among the search words.
SELECT o.order_id, o.customer_id, o.order_name, o.total_amount, o.recipient, o.placed_at, o.pay_before, s.status, s.reason, s.detail, s.facts, o.traceparent
FROM (
    SELECT * FROM orders
    WHERE (:ids_below::uuid IS NULL OR order_id < :ids_below) AND (:ids_from::uuid IS NULL OR order_id >= :ids_from)
      AND (:customer_id::uuid IS NULL OR customer_id = :customer_id)
    ORDER BY order_id DESC LIMIT :looked_max
) o JOIN saga s USING (order_id)
WHERE NOT EXISTS (
    SELECT FROM unnest(:patterns::text[]) AS pattern
    WHERE NOT EXISTS (SELECT FROM unnest(o.search_words) AS word WHERE word LIKE pattern AND position('-' IN word) = 0))
  AND (:status::text IS NULL OR s.status = :status)
  AND (:reason::text IS NULL OR s.reason = :reason)
  AND (:placed_before::timestamptz IS NULL OR o.placed_at < :placed_before)
  AND (:placed_after::timestamptz IS NULL OR o.placed_at >= :placed_after)
  AND (:product::text IS NULL OR :product = ANY (o.search_words))
ORDER BY o.order_id DESC LIMIT :rows_max;
