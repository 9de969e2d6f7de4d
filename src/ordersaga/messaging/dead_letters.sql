-- name: add_dead_letters*!
-- Insert the row of each dead letter. The same letter again changes nothing.
INSERT INTO dead_letter (id, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, said, attempts, at)
VALUES (:id, :topic, :partition, :record_offset, :order_key, :key, :value, :header_names, :header_values, :timestamp_ms,
        :cause, :reason, :said, :attempts, :at)
ON CONFLICT DO NOTHING;

-- name: mark_unpublished
-- Mark letters whose records Kafka refuses on the dead letter topic: until that topic takes them they are in this table only. A letter
-- without an offset was refused by its own topic and is not marked.
UPDATE dead_letter d SET unpublished = t.reason FROM unnest(:ids::uuid[], :reasons::text[]) AS t (id, reason)
WHERE d.id = t.id AND d.record_offset IS NOT NULL
RETURNING d.id;

-- name: unpublished_letters
-- Open letters that are not on their dead letter topic: how many by topic, and the reason of one of them.
SELECT topic, count(*) AS letters, min(at) AS oldest_at, max(unpublished) AS reason
FROM dead_letter WHERE unpublished IS NOT NULL AND status = 'OPEN' GROUP BY topic ORDER BY topic;

-- name: supersede_dead_letters!
-- For replayed records that became dead letters again: the new letter `follows` the old letter, which is SUPERSEDED. The values are compared
-- too, since a topic that was deleted and made again uses the same offsets for other records.
WITH pair AS (
    SELECT DISTINCT ON (new.id) new.id AS new_id, old.id AS old_id
    FROM dead_letter new
    JOIN dead_letter old ON old.topic = new.topic AND old.partition = new.partition AND old.record_offset = new.record_offset
         AND old.value IS NOT DISTINCT FROM new.value AND old.id <> new.id
    WHERE new.id = ANY (:ids::uuid[]) AND new.follows IS NULL
      AND old.imported_from IS NULL AND old.status IN ('REPLAYED', 'RESOLVED')
    ORDER BY new.id, old.at DESC
), gone AS (
    UPDATE dead_letter d SET status = 'SUPERSEDED', decided_at = :now FROM pair WHERE d.id = pair.old_id
)
UPDATE dead_letter d SET follows = pair.old_id FROM pair WHERE d.id = pair.new_id;

-- name: supersede_published!
-- The same for a letter that was published again: its record comes back refused by Kafka, or given up by a partner, with the message-id of
-- that publication. The topic must be the same: some frameworks copy the headers of a record to those that it causes. So must the group, or
-- the queue where no group is known: what was published for one consumer may fail at another.
WITH pair AS (
    SELECT new.new_id, old.id AS old_id
    FROM unnest(:ids::uuid[], :message_ids::uuid[]) AS new (new_id, message_id)
    JOIN dead_letter old ON old.replayed_as = new.message_id AND old.status IN ('REPLAYED', 'RESOLVED', 'PUBLISHED')
    JOIN dead_letter again ON again.id = new.new_id AND again.topic = old.topic
         AND coalesce(again.consumer_group, regexp_replace(again.imported_from, '/\d+/\d+$', ''))
             IS NOT DISTINCT FROM coalesce(old.consumer_group, regexp_replace(old.imported_from, '/\d+/\d+$', ''))
), gone AS (
    UPDATE dead_letter d SET status = 'SUPERSEDED', decided_at = :now FROM pair WHERE d.id = pair.old_id
)
UPDATE dead_letter d SET follows = pair.old_id FROM pair WHERE d.id = pair.new_id;

-- name: settle_published!
-- Close letters that were published again and whose outbox rows are gone: Kafka has acknowledged their records. With that the failure of a
-- record that Kafka had refused is resolved. A partner's is not known to be.
UPDATE dead_letter d SET status = CASE WHEN d.imported_from IS NULL THEN 'RESOLVED' ELSE 'PUBLISHED' END, decided_at = :now
WHERE d.status = 'REPLAYED' AND d.replayed_as IS NOT NULL AND NOT EXISTS (SELECT FROM outbox o WHERE o.message_id = d.replayed_as);
