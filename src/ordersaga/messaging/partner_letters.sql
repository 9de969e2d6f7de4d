-- name: known_dead_letters
-- Which of these letters this database has.
SELECT id FROM dead_letter WHERE id = ANY (:ids::uuid[]);

-- name: letters_of_places
-- Imported letters of records at these places, the newest last, locked until their copies are added. Of letters of one moment the open one is
-- the newest.
SELECT id, topic, partition, record_offset, consumer_group, imported_from, order_key, value, status, attempts, at
FROM dead_letter
WHERE imported_from IS NOT NULL
  AND (topic, partition, record_offset) IN (SELECT * FROM unnest(:topics::text[], :partitions::int[], :offsets::bigint[]))
ORDER BY at, status = 'OPEN', id FOR UPDATE;

-- name: import_dead_letters*!
-- Insert letters that a partner's consumer gave up.
INSERT INTO dead_letter (id, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, stacktrace, attempts, at, follows, imported_from, consumer_group)
VALUES (:id, :topic, :partition, :record_offset, :order_key, :key, :value, :header_names, :header_values, :timestamp_ms,
        :cause, :reason, :stacktrace, :attempts, :at, :follows, :imported_from, :consumer_group)
ON CONFLICT DO NOTHING;

-- name: supersede_copies!
-- Close the letters that these follow: an older letter of the same failure.
UPDATE dead_letter d SET status = 'SUPERSEDED', decided_at = :now
FROM dead_letter n WHERE n.id = ANY (:ids::uuid[]) AND d.id = n.follows AND d.status = 'OPEN';
