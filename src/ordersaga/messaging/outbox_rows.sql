-- name: outbox_block$
-- The first id of a block for the outbox rows of a transaction that is not a turn.
SELECT nextval('outbox_block');

-- name: outbox_block_at_end$
-- The same in the statement that ends a transaction.
WITH block AS MATERIALIZED (SELECT nextval('outbox_block') AS id)
SELECT id FROM block;
