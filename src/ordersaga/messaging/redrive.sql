-- name: lock_dead_letter^
-- One dead letter, its row locked.
SELECT id, status, topic, partition, record_offset, order_key, cause, reason, attempts, at, follows, replayed_as, imported_from, consumer_group,
       said
FROM dead_letter WHERE id = :id FOR UPDATE;

-- name: mark_dead_letter!
-- Set the status of a dead letter. `replayed_as`: the message-id under which its record is published again.
UPDATE dead_letter SET status = :status, decided_at = :now, replayed_as = coalesce(:replayed_as::uuid, replayed_as) WHERE id = :id;

-- name: copy_dead_letter!
-- Insert the edited copy of a dead letter; the copy `follows` the original.
INSERT INTO dead_letter (id, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, said, stacktrace, attempts, at, follows, imported_from, consumer_group)
SELECT :copy_id, topic, partition, record_offset, coalesce(:order_key::uuid, order_key), key, :value, header_names, header_values, timestamp_ms,
       cause, reason, said, stacktrace, attempts, :now, id, imported_from, consumer_group
FROM dead_letter WHERE id = :id;

-- name: put_back!
-- Park the record of a dead letter again, due now. `attempts_before` keeps the attempts made before the replay.
INSERT INTO parked (topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                    attempts, attempts_before, due_at, cause, reason, said, parked_at)
SELECT topic, partition, record_offset, :order_key, key, value, header_names, header_values, coalesce(timestamp_ms, 0),
       attempts, attempts, :now, cause, reason, said, :now
FROM dead_letter WHERE id = :id
ON CONFLICT DO NOTHING;

-- name: line_up!
-- After a record was put back into a queue: make the first record due and let the others wait behind it.
UPDATE parked p SET due_at = CASE WHEN p.record_offset = first.record_offset THEN coalesce(p.due_at, :now) END
FROM (SELECT min(record_offset) AS record_offset FROM parked WHERE topic = :topic AND partition = :partition AND order_key = :order_key) first
WHERE p.topic = :topic AND p.partition = :partition AND p.order_key = :order_key;
