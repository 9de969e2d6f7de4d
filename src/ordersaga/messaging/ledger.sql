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

-- name: topics_begun
-- Which of these topics have a partition with a ledger row.
SELECT DISTINCT topic FROM ledger WHERE topic = ANY (:topics::text[]);

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

-- name: lock_position$
-- Keep the owner of a partition from beginning a turn until this transaction ends; null: this service has never read it.
SELECT next_offset FROM ledger WHERE topic = :topic AND partition = :partition FOR UPDATE;

-- name: positions_of_topic
-- How far a service has come in a topic.
SELECT partition, topic_id, next_offset FROM ledger WHERE topic = :topic;

-- name: accept_partitions$
-- An operator's word that partitions may go on from another place, in the topic as it is now.
WITH accepted AS (
    UPDATE ledger l SET topic_id = :topic_id, epoch = l.epoch + 1, next_offset = t.next_offset
    FROM unnest(:partitions::int[], :next_offsets::bigint[]) AS t (partition, next_offset)
    WHERE l.topic = :topic AND l.partition = t.partition
    RETURNING 1
)
SELECT count(*) FROM accepted;
