-- name: known_dead_letters
-- Which of these letters this database has.
SELECT id FROM dead_letter WHERE id = ANY (:ids::uuid[]);

-- name: import_dead_letters*!
-- Insert letters that a partner's consumer gave up.
INSERT INTO dead_letter (id, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, stacktrace, attempts, at, imported_from, consumer_group)
VALUES (:id, :topic, :partition, :record_offset, :order_key, :key, :value, :header_names, :header_values, :timestamp_ms,
        :cause, :reason, :stacktrace, :attempts, :at, :imported_from, :consumer_group)
ON CONFLICT DO NOTHING;
