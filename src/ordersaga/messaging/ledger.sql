-- name: take_partitions
-- Raise the epoch of partitions. Waits for an open turn of the former owner, which holds the row's lock; later turns of the former owner
-- fail at the fence.
WITH mine AS (
    SELECT l.topic, l.partition
    FROM ledger l JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition) USING (topic, partition)
    ORDER BY l.topic, l.partition
    FOR UPDATE OF l
)
UPDATE ledger l SET epoch = l.epoch + 1
FROM mine WHERE l.topic = mine.topic AND l.partition = mine.partition
RETURNING l.topic, l.partition, l.topic_id, l.epoch, l.next_offset;

-- name: taken_by_others
-- The partitions whose row has another epoch than their owner believes.
SELECT l.topic, l.partition
FROM ledger l JOIN unnest(:topics::text[], :partitions::int[], :epochs::bigint[]) AS t (topic, partition, epoch) USING (topic, partition)
WHERE l.epoch <> t.epoch;

-- name: topics_begun
-- The topics of which a partition has a ledger row.
SELECT DISTINCT topic FROM ledger WHERE topic = ANY (:topics::text[]);

-- name: begin_partitions!
-- Insert the first ledger row of partitions.
INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset)
SELECT * FROM unnest(:topics::text[], :partitions::int[], :topic_ids::text[], :epochs::bigint[], :next_offsets::bigint[])
ON CONFLICT DO NOTHING;

-- name: note_predecessor!
-- Note until when another consumer group handled partitions.
INSERT INTO predecessor (topic, partition, name, handled_until)
SELECT topic, partition, :name, handled_until
FROM unnest(:topics::text[], :partitions::int[], :handled_until::timestamptz[]) AS t (topic, partition, handled_until)
ON CONFLICT DO NOTHING;

-- name: fence
-- Advance the partitions whose epoch and offset are as expected. A partition without a row in the answer belongs to another process.
-- `block`: the first id for the turn's outbox rows.
WITH fenced AS (
    UPDATE ledger l SET next_offset = t.next_offset
    FROM unnest(:topics::text[], :partitions::int[], :epochs::bigint[], :expected_offsets::bigint[], :next_offsets::bigint[])
         AS t (topic, partition, epoch, expected_offset, next_offset)
    WHERE l.topic = t.topic AND l.partition = t.partition AND l.epoch = t.epoch AND l.next_offset = t.expected_offset
    RETURNING l.topic, l.partition
)
SELECT topic, partition, (SELECT nextval('outbox_block')) AS block FROM fenced;

-- name: fence_at_end$
-- The same in the statement that ends a turn, which has the turn's writes, too. Divides by zero, so that none of it happens, if one of the
-- partitions is not as expected. Returns the first id of the outbox rows, and the id of the transaction.
WITH block AS MATERIALIZED (SELECT nextval('outbox_block') AS id), fenced AS (
    UPDATE ledger l SET next_offset = t.next_offset
    FROM unnest(:topics::text[], :partitions::int[], :epochs::bigint[], :expected_offsets::bigint[], :next_offsets::bigint[])
         AS t (topic, partition, epoch, expected_offset, next_offset)
    WHERE l.topic = t.topic AND l.partition = t.partition AND l.epoch = t.epoch AND l.next_offset = t.expected_offset
    RETURNING 1
)
SELECT ARRAY[id, pg_current_xact_id()::xid::text::bigint] FROM block WHERE 1 / ((SELECT count(*) FROM fenced) = cardinality(:topics::text[]))::int = 1;

-- name: lock_position$
-- The next offset of a partition, its row locked, so that no turn of the partition begins before this transaction ends.
-- No row: this service has never read the partition.
SELECT next_offset FROM ledger WHERE topic = :topic AND partition = :partition FOR UPDATE;

-- name: positions_of_topic
-- The topic id and next offset of each partition of a topic.
SELECT partition, topic_id, next_offset FROM ledger WHERE topic = :topic;

-- name: parked_of_partition$
-- How many records of a partition are parked.
SELECT count(*) FROM parked WHERE topic = :topic AND partition = :partition;

-- name: forget_partition!
-- Delete the row of a partition. What its turns left in the outbox has no source from now on, so that any instance publishes it.
WITH left_over AS (
    UPDATE outbox SET source_topic = NULL, source_partition = NULL WHERE source_topic = :topic AND source_partition = :partition
)
DELETE FROM ledger WHERE topic = :topic AND partition = :partition;

-- name: accept_partitions$
-- Set the offsets of partitions to those that an operator names, with the topic's present id. The raised epoch makes their owner take them
-- again.
WITH accepted AS (
    UPDATE ledger l SET topic_id = :topic_id, epoch = l.epoch + 1, next_offset = t.next_offset
    FROM unnest(:partitions::int[], :next_offsets::bigint[]) AS t (partition, next_offset)
    WHERE l.topic = :topic AND l.partition = t.partition
    RETURNING 1
)
SELECT count(*) FROM accepted;
