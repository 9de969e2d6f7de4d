-- name: outbox_of_partitions
-- What turns of partitions left unpublished, oldest first.
SELECT o.id, o.topic, o.partition, o.key, o.value, o.message_id, o.causation_id, o.traceparent, o.header_names, o.header_values
FROM outbox o JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition)
     ON o.source_topic = t.topic AND o.source_partition = t.partition
WHERE o.id > :after_id ORDER BY o.id LIMIT :rows_max;

-- name: adopt_outbox
-- Take over rows whose writer has not published them in time; nobody else takes them again before `leased_until`.
WITH late AS (
    SELECT id FROM outbox
    WHERE source_topic IS NULL AND adopt_at <= :now AND (leased_until IS NULL OR leased_until <= :now) AND id <> ALL (:in_flight::bigint[])
    ORDER BY id LIMIT :rows_max FOR UPDATE SKIP LOCKED
)
UPDATE outbox o SET leased_until = :leased_until FROM late WHERE o.id = late.id
RETURNING o.id, o.topic, o.partition, o.key, o.value, o.message_id, o.causation_id, o.traceparent, o.header_names, o.header_values;

-- name: delete_outbox!
-- Forget rows that the broker has acknowledged. Nobody waits for the disk: a row that comes back is published again, with the same id.
WITH soon AS (SELECT set_config('synchronous_commit', 'off', true))
DELETE FROM outbox USING soon WHERE id = ANY (:ids::bigint[]);
