-- name: outbox_block$
-- The first id of a block for the outbox rows of a transaction that is not a turn.
SELECT nextval('outbox_block');

-- name: outbox_block_at_end$
-- The same in the statement that ends a transaction, and the id of the transaction.
WITH block AS MATERIALIZED (SELECT nextval('outbox_block') AS id)
SELECT ARRAY[id, pg_current_xact_id()::xid::text::bigint] FROM block WHERE true;
