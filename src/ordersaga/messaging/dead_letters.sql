-- name: add_dead_letters*!
-- Keep a row beside each dead letter; a repeat of the same one changes nothing.
INSERT INTO dead_letter (id, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, attempts, at)
VALUES (:id, :topic, :partition, :record_offset, :order_key, :key, :value, :header_names, :header_values, :timestamp_ms,
        :cause, :reason, :attempts, :at)
ON CONFLICT DO NOTHING;

-- name: mark_unpublished
-- Letters whose records Kafka refuses on the dead letter topic: they are only here, for as long as it does. A letter that was published
-- again to its own topic, and is refused there, is none of them.
UPDATE dead_letter d SET unpublished = t.reason FROM unnest(:ids::uuid[], :reasons::text[]) AS t (id, reason)
WHERE d.id = t.id AND d.record_offset IS NOT NULL
RETURNING d.id;

-- name: unpublished_letters
-- How many open letters are not on their dead letter topic, by topic, with the reason of one of them.
SELECT topic, count(*) AS letters, min(at) AS oldest_at, max(unpublished) AS reason
FROM dead_letter WHERE unpublished IS NOT NULL AND status = 'OPEN' GROUP BY topic ORDER BY topic;

-- name: supersede_dead_letters!
-- A letter whose replay has failed for good gives way to the new one, which names it. The same value: another record may have come
-- to the same place since, where a topic was made again.
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
-- The same for a letter that was published again: it comes back refused, or from a partner, under the message-id it was given then.
WITH pair AS (
    SELECT new.new_id, old.id AS old_id
    FROM unnest(:ids::uuid[], :message_ids::uuid[]) AS new (new_id, message_id)
    JOIN dead_letter old ON old.replayed_as = new.message_id AND old.status IN ('REPLAYED', 'RESOLVED')
), gone AS (
    UPDATE dead_letter d SET status = 'SUPERSEDED', decided_at = :now FROM pair WHERE d.id = pair.old_id
)
UPDATE dead_letter d SET follows = pair.old_id FROM pair WHERE d.id = pair.new_id;

-- name: settle_published!
-- Letters that were to go out on a topic are resolved once they have: the broker's word removes their outbox rows.
UPDATE dead_letter d SET status = 'RESOLVED', decided_at = :now
WHERE d.status = 'REPLAYED' AND d.replayed_as IS NOT NULL AND NOT EXISTS (SELECT FROM outbox o WHERE o.message_id = d.replayed_as);
