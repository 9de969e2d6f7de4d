-- name: parked_keys
-- The keys of these partitions that have parked records: later records of such a key queue behind them.
SELECT DISTINCT topic, partition, order_key
FROM parked JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition) USING (topic, partition);

-- name: park*!
-- Park records. A record that is parked already gets its new attempts, due time and reason. A record that was to wait behind a record that
-- an operator has discarded meanwhile is due now, since no retry would make it due.
INSERT INTO parked (topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                    attempts, due_at, cause, reason, said, parked_at)
VALUES (:topic, :partition, :record_offset, :order_key, :key, :value, :header_names, :header_values, :timestamp_ms, :attempts,
        CASE WHEN :due_at::timestamptz IS NOT NULL OR EXISTS (
                 SELECT FROM parked p WHERE p.topic = :topic AND p.partition = :partition AND p.order_key = :order_key
                                        AND p.record_offset < :record_offset)
             THEN :due_at::timestamptz ELSE :parked_at END,
        :cause, :reason, :said, :parked_at)
ON CONFLICT (topic, partition, record_offset)
DO UPDATE SET attempts = EXCLUDED.attempts, due_at = EXCLUDED.due_at, cause = EXCLUDED.cause, reason = EXCLUDED.reason,
    said = EXCLUDED.said;

-- name: due_parked
-- The first record of each queue, if that record is due.
SELECT DISTINCT ON (p.topic, p.partition, p.order_key)
       p.topic, p.partition, p.record_offset, p.key, p.value, p.header_names, p.header_values, p.timestamp_ms, p.attempts, p.attempts_before
FROM parked p JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition) USING (topic, partition)
WHERE p.due_at <= :now
ORDER BY p.topic, p.partition, p.order_key, p.record_offset
LIMIT :rows_max;

-- name: lock_parked
-- Which of these records are still parked, their rows locked.
SELECT p.topic, p.partition, p.record_offset
FROM parked p JOIN unnest(:topics::text[], :partitions::int[], :offsets::bigint[]) AS t (topic, partition, record_offset)
     USING (topic, partition, record_offset)
ORDER BY p.topic, p.partition, p.record_offset
FOR UPDATE OF p;

-- name: unpark!
-- Remove records from their queues and make the next record of each queue due. The dead letter of a replayed record is resolved.
WITH gone AS (
    DELETE FROM parked p
    USING unnest(:topics::text[], :partitions::int[], :offsets::bigint[]) AS t (topic, partition, record_offset)
    WHERE p.topic = t.topic AND p.partition = t.partition AND p.record_offset = t.record_offset
    RETURNING p.topic, p.partition, p.record_offset, p.order_key
), resolved AS (
    UPDATE dead_letter d SET status = 'RESOLVED', decided_at = :now FROM gone g
    WHERE d.topic = g.topic AND d.partition = g.partition AND d.record_offset = g.record_offset
      AND d.status = 'REPLAYED' AND d.imported_from IS NULL
), next AS (
    SELECT DISTINCT ON (p.topic, p.partition, p.order_key) p.topic, p.partition, p.record_offset
    FROM parked p JOIN gone g ON p.topic = g.topic AND p.partition = g.partition AND p.order_key = g.order_key
    WHERE p.record_offset > g.record_offset
    ORDER BY p.topic, p.partition, p.order_key, p.record_offset
)
UPDATE parked p SET due_at = :now FROM next
WHERE p.topic = next.topic AND p.partition = next.partition AND p.record_offset = next.record_offset AND p.due_at IS NULL;
