-- transactional: false
-- The search words of the orders of before, a thousand orders in a transaction. In one with ALTER TABLE no order could be placed or read before
-- the last of years was written.
DO $$
DECLARE
    beyond CONSTANT uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    low uuid := '00000000-0000-0000-0000-000000000000';
    high uuid;
BEGIN
    LOOP
        high := coalesce((SELECT order_id FROM orders WHERE order_id > low ORDER BY order_id OFFSET 999 LIMIT 1), beyond);
        UPDATE orders o SET search_words = ARRAY(
            SELECT DISTINCT word
            FROM string_to_table(btrim(regexp_replace(lower(normalize(o.order_name, NFKC)), '[^[:alnum:]]+', ' ', 'g')), ' ') AS word WHERE word <> ''
            UNION
            SELECT line ->> 'productId' FROM saga s, json_array_elements(s.facts -> 'lines') AS line WHERE s.order_id = o.order_id
        )
        WHERE o.order_id > low AND o.order_id <= high AND o.search_words IS NULL;
        COMMIT;
        EXIT WHEN high = beyond;
        low := high;
    END LOOP;
END $$;
