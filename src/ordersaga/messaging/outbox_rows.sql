-- name: outbox_block$
-- The first id of a block for the outbox rows of a transaction that is not a turn.
SELECT nextval('outbox_block');
