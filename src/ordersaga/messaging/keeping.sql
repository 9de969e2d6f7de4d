-- name: prune_idempotency_key$
-- Forget keys that are older than they are promised to be kept, some at a time.
WITH gone AS (
    DELETE FROM idempotency_key WHERE ctid IN (SELECT ctid FROM idempotency_key WHERE at < :before LIMIT :rows_max) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: prune_dead_letter$
-- Forget dead letters that were dealt with long ago, some at a time. Open ones stay for ever. When a letter came does not count: what an
-- operator has just put right must stay to be looked up.
WITH gone AS (
    DELETE FROM dead_letter WHERE id IN (
        SELECT id FROM dead_letter WHERE status IN ('RESOLVED', 'DISCARDED', 'SUPERSEDED') AND decided_at < :before LIMIT :rows_max
    ) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: prune_operator_act$
-- Forget what operators did long ago, some at a time.
WITH gone AS (
    DELETE FROM operator_act WHERE id IN (SELECT id FROM operator_act WHERE at < :before ORDER BY id LIMIT :rows_max) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: fill
-- How full the runtime's tables are. The outbox is read as it lies (by ctid): an index of it leads to what is gone, too.
SELECT outbox_rows, oldest_adopt_at,
       parked_rows, oldest_parked_at, dead_letters_open, oldest_letter_at
FROM (SELECT count(*) AS outbox_rows, min(adopt_at) AS oldest_adopt_at FROM outbox WHERE ctid >= '(0,0)') AS o,
     (SELECT count(*) AS parked_rows, min(parked_at) AS oldest_parked_at FROM parked) AS p,
     (SELECT count(*) AS dead_letters_open, min(at) AS oldest_letter_at FROM dead_letter WHERE status = 'OPEN') AS l;

-- name: outbox_topics
-- What of the outbox has waited, by topic.
SELECT topic, count(*) AS rows, min(adopt_at) AS oldest_adopt_at FROM outbox GROUP BY topic ORDER BY topic;

-- name: refused_letters
-- Open letters of records that Kafka had refused, by topic, with the reason of one of them.
SELECT topic, min(partition) AS partition, count(*) AS letters, min(at) AS oldest_at, max(reason) AS reason
FROM dead_letter WHERE status = 'OPEN' AND cause = :cause GROUP BY topic ORDER BY topic;
