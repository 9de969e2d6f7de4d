-- name: prune_idempotency_key$
-- Delete some keys that are older than their retention.
WITH gone AS (
    DELETE FROM idempotency_key WHERE ctid IN (SELECT ctid FROM idempotency_key WHERE at < :before LIMIT :rows_max) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: prune_dead_letter$
-- Delete some dead letters whose retention has passed since they were decided. Open letters are kept for ever. The age of the record does
-- not count: a letter that an operator has just resolved must stay readable.
WITH gone AS (
    DELETE FROM dead_letter WHERE id IN (
        SELECT id FROM dead_letter WHERE status IN ('RESOLVED', 'PUBLISHED', 'DISCARDED', 'SUPERSEDED') AND decided_at < :before LIMIT :rows_max
    ) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: prune_operator_act$
-- Delete some operator acts that are older than their retention.
WITH gone AS (
    DELETE FROM operator_act WHERE id IN (SELECT id FROM operator_act WHERE at < :before ORDER BY id LIMIT :rows_max) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: prune_operator_job$
-- Delete some ended jobs of operators that are older than the retention of operator acts; their items go with them.
WITH gone AS (
    DELETE FROM operator_job WHERE id IN (
        SELECT id FROM operator_job WHERE ended_at IS NOT NULL AND created_at < :before ORDER BY created_at LIMIT :rows_max
    ) RETURNING 1
)
SELECT count(*) FROM gone;
