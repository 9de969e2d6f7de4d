-- What the shop shows of each product beside its name and price. Every batch of orders writes rows of `product`, which a long description
-- would make large, so the texts are in rows of their own. `search_text` is the folded name and category; `search_parts` has its characters and
-- pairs of neighbours. stock/listing.py makes both.
CREATE TABLE listing (
    product_id   uuid    PRIMARY KEY,
    description  text    NOT NULL,
    picture      text,
    category     text,
    active       boolean NOT NULL,
    search_text  text    NOT NULL,
    search_parts text[]  NOT NULL
);
CREATE INDEX listing_active_idx ON listing (active, product_id);
CREATE INDEX listing_category_idx ON listing (category, product_id);
CREATE INDEX listing_search_idx ON listing USING gin (search_parts);

-- Products that were there before are active. Their texts are folded as well as the database can.
WITH folded AS (
    SELECT product_id, btrim(regexp_replace(lower(normalize(name, NFKC)), '\s+', ' ', 'g')) AS text FROM product
)
INSERT INTO listing (product_id, description, active, search_text, search_parts)
SELECT product_id, '', true, text, ARRAY(
    SELECT DISTINCT part
    FROM string_to_table(text, ' ') AS word, generate_series(1, length(word)) AS n,
        unnest(ARRAY[substr(word, n, 1), substr(word, n, 2)]) AS part
) FROM folded;
