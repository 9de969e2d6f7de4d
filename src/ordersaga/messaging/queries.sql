-- name: take_partitions
-- Raise the epoch of partitions, which waits for the old owner's open transaction and shuts it out from then on.
WITH mine AS (
    SELECT l.topic, l.partition
    FROM ledger l JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition) USING (topic, partition)
    ORDER BY l.topic, l.partition
    FOR UPDATE OF l
)
UPDATE ledger l SET epoch = l.epoch + 1
FROM mine WHERE l.topic = mine.topic AND l.partition = mine.partition
RETURNING l.topic, l.partition, l.topic_id, l.epoch, l.next_offset;

-- name: begin_partitions!
-- Give partitions that have no ledger row yet their first one.
INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset)
SELECT * FROM unnest(:topics::text[], :partitions::int[], :topic_ids::text[], :epochs::bigint[], :next_offsets::bigint[])
ON CONFLICT DO NOTHING;

-- name: fence
-- Advance partitions that we still own and that stand where we believe; a missing row means that somebody else owns one.
WITH fenced AS (
    UPDATE ledger l SET next_offset = t.next_offset
    FROM unnest(:topics::text[], :partitions::int[], :epochs::bigint[], :expected_offsets::bigint[], :next_offsets::bigint[])
         AS t (topic, partition, epoch, expected_offset, next_offset)
    WHERE l.topic = t.topic AND l.partition = t.partition AND l.epoch = t.epoch AND l.next_offset = t.expected_offset
    RETURNING l.topic, l.partition
)
SELECT topic, partition, (SELECT nextval('outbox_block')) AS block FROM fenced;

-- name: outbox_block$
-- First number for the outbox rows of a transaction that is no turn.
SELECT nextval('outbox_block');

-- name: outbox_of_partition
-- What turns of a partition left unpublished, oldest first.
SELECT id, topic, partition, key, value, message_id, causation_id, traceparent, header_names, header_values
FROM outbox WHERE source_topic = :topic AND source_partition = :partition AND id > :after_id ORDER BY id LIMIT :rows_max;

-- name: adopt_outbox
-- Take over rows whose writer has not published them in time; nobody else takes them again before `adopt_again_at`.
WITH late AS (
    SELECT id FROM outbox
    WHERE source_topic IS NULL AND adopt_at <= :now AND id <> ALL (:in_flight::bigint[])
    ORDER BY id LIMIT :rows_max FOR UPDATE SKIP LOCKED
)
UPDATE outbox o SET adopt_at = :adopt_again_at FROM late WHERE o.id = late.id
RETURNING o.id, o.topic, o.partition, o.key, o.value, o.message_id, o.causation_id, o.traceparent, o.header_names, o.header_values;

-- name: delete_outbox!
-- Forget rows that the broker has acknowledged.
DELETE FROM outbox WHERE id = ANY (:ids::bigint[]);

-- name: add_dead_letters*!
-- Keep a row beside each dead letter; a repeat of the same one changes nothing.
INSERT INTO dead_letter (id, topic, partition, record_offset, key, value, header_names, header_values, cause, reason, attempts, at)
VALUES (:id, :topic, :partition, :record_offset, :key, :value, :header_names, :header_values, :cause, :reason, :attempts, :at)
ON CONFLICT DO NOTHING;

-- name: claim_idempotency_keys!
-- The first use of a key wins; a second one waits here until the first is committed.
INSERT INTO idempotency_key (scope, key, body_hash, resource, at)
SELECT scope, key, body_hash, resource, :now
FROM unnest(:scopes::text[], :keys::text[], :body_hashes::bytea[], :resources::uuid[]) AS t (scope, key, body_hash, resource)
ORDER BY scope, key
ON CONFLICT DO NOTHING;

-- name: idempotency_keys
-- What keys stand for now.
SELECT scope, key, body_hash, resource
FROM idempotency_key JOIN unnest(:scopes::text[], :keys::text[]) AS t (scope, key) USING (scope, key);

-- name: forget_idempotency_keys!
-- Drop keys that are older than they are promised to be kept, some at a time.
DELETE FROM idempotency_key WHERE (scope, key) IN (SELECT scope, key FROM idempotency_key WHERE at < :before LIMIT :rows_max);

-- name: parked_keys
-- Which keys of partitions have parked records, so that later records of theirs queue behind.
SELECT DISTINCT topic, partition, order_key
FROM parked JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition) USING (topic, partition);

-- name: park*!
-- Park records; one that was parked before is only counted again.
INSERT INTO parked (topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                    attempts, due_at, cause, reason, parked_at)
VALUES (:topic, :partition, :record_offset, :order_key, :key, :value, :header_names, :header_values, :timestamp_ms,
        :attempts, :due_at, :cause, :reason, :parked_at)
ON CONFLICT (topic, partition, record_offset)
DO UPDATE SET attempts = EXCLUDED.attempts, due_at = EXCLUDED.due_at, cause = EXCLUDED.cause, reason = EXCLUDED.reason;

-- name: due_parked
-- The first record of each queue that is due; none of a key twice, since the second must wait for the first.
SELECT DISTINCT ON (p.topic, p.partition, p.order_key)
       p.topic, p.partition, p.record_offset, p.key, p.value, p.header_names, p.header_values, p.timestamp_ms, p.attempts, p.attempts_before
FROM parked p JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition) USING (topic, partition)
WHERE p.due_at <= :now
ORDER BY p.topic, p.partition, p.order_key, p.record_offset
LIMIT :rows_max;

-- name: lock_parked
-- Those of them that are still there, locked.
SELECT p.topic, p.partition, p.record_offset
FROM parked p JOIN unnest(:topics::text[], :partitions::int[], :offsets::bigint[]) AS t (topic, partition, record_offset)
     USING (topic, partition, record_offset)
ORDER BY p.topic, p.partition, p.record_offset
FOR UPDATE OF p;

-- name: unpark!
-- Take records out of their queues and let the next of each queue come at once.
WITH gone AS (
    DELETE FROM parked p
    USING unnest(:topics::text[], :partitions::int[], :offsets::bigint[]) AS t (topic, partition, record_offset)
    WHERE p.topic = t.topic AND p.partition = t.partition AND p.record_offset = t.record_offset
    RETURNING p.topic, p.partition, p.record_offset, p.order_key
), next AS (
    SELECT DISTINCT ON (p.topic, p.partition, p.order_key) p.topic, p.partition, p.record_offset
    FROM parked p JOIN gone g ON p.topic = g.topic AND p.partition = g.partition AND p.order_key = g.order_key
    WHERE p.record_offset > g.record_offset
    ORDER BY p.topic, p.partition, p.order_key, p.record_offset
)
UPDATE parked p SET due_at = :now FROM next
WHERE p.topic = next.topic AND p.partition = next.partition AND p.record_offset = next.record_offset AND p.due_at IS NULL;
