-- What operators and customers search an order by: the words of its name, folded, and its products. model.py makes them. Orders that a process
-- of the version before places during the upgrade are not found by these.
ALTER TABLE orders ADD COLUMN search_words text[];
UPDATE orders o SET search_words = ARRAY(
    SELECT DISTINCT word
    FROM string_to_table(btrim(regexp_replace(lower(normalize(o.order_name, NFKC)), '[^[:alnum:]]+', ' ', 'g')), ' ') AS word WHERE word <> ''
    UNION
    SELECT line ->> 'productId' FROM saga s, json_array_elements(s.facts -> 'lines') AS line WHERE s.order_id = o.order_id
);
