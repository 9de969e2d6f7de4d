-- name: arm_timers!
-- Set timers, except those that another transaction is firing (their rows are locked). No joins: a plan made for an empty table would
-- compare each row with each.
WITH free AS MATERIALIZED (
    SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) ORDER BY key FOR UPDATE SKIP LOCKED
), firing AS MATERIALIZED (
    SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) EXCEPT SELECT key FROM free
)
INSERT INTO timer (key, due_at)
SELECT key, due_at FROM unnest(:keys::uuid[], :due_ats::timestamptz[]) AS w (key, due_at) WHERE key NOT IN (SELECT key FROM firing)
ON CONFLICT (key) DO UPDATE SET due_at = EXCLUDED.due_at;

-- name: disarm_timers!
-- Delete timers, except those that another transaction is firing (their rows are locked).
DELETE FROM timer WHERE key = ANY (ARRAY (SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) ORDER BY key FOR UPDATE SKIP LOCKED));

-- name: any_due$
-- Whether a timer is due.
SELECT EXISTS (SELECT FROM timer WHERE due_at <= :now);

-- name: claim_timers
-- Delete and return timers that are due and that no other transaction is firing.
DELETE FROM timer WHERE key IN (
    SELECT key FROM timer WHERE due_at <= :now ORDER BY due_at LIMIT :rows_max FOR UPDATE SKIP LOCKED
) RETURNING key;

-- name: claim_timers_among
-- Delete and return those of these timers that are due and that no other transaction is firing.
DELETE FROM timer WHERE key = ANY (ARRAY (
    SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) AND due_at <= :now ORDER BY key FOR UPDATE SKIP LOCKED
)) RETURNING key;

-- name: postpone_timer!
-- Set the due time of one timer.
UPDATE timer SET due_at = :due_at WHERE key = :key;
