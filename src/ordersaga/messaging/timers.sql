-- name: arm_timers!
-- Set timers, also those that are set for another time already, but for those that somebody is just taking. No joins: an idle shop has no
-- timers, and a plan for none would compare each with all that a rush brings.
WITH free AS MATERIALIZED (
    SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) ORDER BY key FOR UPDATE SKIP LOCKED
), taken AS MATERIALIZED (
    SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) EXCEPT SELECT key FROM free
)
INSERT INTO timer (key, due_at)
SELECT key, due_at FROM unnest(:keys::uuid[], :due_ats::timestamptz[]) AS w (key, due_at) WHERE key NOT IN (SELECT key FROM taken)
ON CONFLICT (key) DO UPDATE SET due_at = EXCLUDED.due_at;

-- name: disarm_timers!
-- Take timers away, but for those that somebody is just taking.
DELETE FROM timer WHERE key = ANY (ARRAY (SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) ORDER BY key FOR UPDATE SKIP LOCKED));

-- name: take_timers
-- Take timers that are due and that nobody else is just taking.
DELETE FROM timer WHERE key IN (
    SELECT key FROM timer WHERE due_at <= :now ORDER BY due_at LIMIT :rows_max FOR UPDATE SKIP LOCKED
) RETURNING key;

-- name: postpone_timer!
-- Look at one later.
UPDATE timer SET due_at = :due_at WHERE key = :key;
