-- name: outbox_of_partitions
-- Rows that turns of these partitions left unpublished, oldest first, a page at a time.
SELECT o.id, o.topic, o.partition, o.key, o.value, o.message_id, o.causation_id, o.traceparent, o.header_names, o.header_values
FROM outbox o JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition)
     ON o.source_topic = t.topic AND o.source_partition = t.partition
WHERE o.id > :after_id ORDER BY o.id LIMIT :rows_max;

-- name: adopt_outbox
-- Lease rows whose writer has not published them in time: no other instance claims them before `leased_until`.
-- `in_flight`: rows that this instance is publishing.
WITH late AS (
    SELECT id FROM outbox
    WHERE source_topic IS NULL AND adopt_at <= :now AND (leased_until IS NULL OR leased_until <= :now) AND id <> ALL (:in_flight::bigint[])
    ORDER BY id LIMIT :rows_max FOR UPDATE SKIP LOCKED
)
UPDATE outbox o SET leased_until = :leased_until FROM late WHERE o.id = late.id
RETURNING o.id, o.topic, o.partition, o.key, o.value, o.message_id, o.causation_id, o.traceparent, o.header_names, o.header_values;

-- name: delete_outbox!
-- Delete rows that Kafka has acknowledged. The commit does not wait for the disk: a row that a crash brings back is published again, with
-- the same message-id.
WITH soon AS (SELECT set_config('synchronous_commit', 'off', true))
DELETE FROM outbox USING soon WHERE id = ANY (:ids::bigint[]);
