-- name: claim_unpublished
-- Claim some unpublished letters, to publish them again in the same transaction, the oldest first. An UPDATE returns its rows in any order.
WITH claimed AS (
    UPDATE dead_letter SET unpublished = NULL WHERE id IN (
        SELECT id FROM dead_letter WHERE unpublished IS NOT NULL AND status = 'OPEN' AND topic = ANY (:topics::text[])
        ORDER BY at, id LIMIT :rows_max FOR UPDATE SKIP LOCKED
    )
    RETURNING id, topic, partition, record_offset, key, value, header_names, header_values, timestamp_ms, cause, reason, attempts, at
)
SELECT id, topic, partition, record_offset, key, value, header_names, header_values, timestamp_ms, cause, reason, attempts
FROM claimed ORDER BY at, id;
