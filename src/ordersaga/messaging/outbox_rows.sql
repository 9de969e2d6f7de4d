-- name: outbox_block$
-- First number for the outbox rows of a transaction that is no turn.
SELECT nextval('outbox_block');
