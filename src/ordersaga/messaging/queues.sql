-- name: parked_queues
-- The first record of each queue, and how many records the queue has. A condition that is null matches all.
SELECT * FROM (
    SELECT DISTINCT ON (topic, partition, order_key)
           topic, partition, record_offset, order_key, attempts, attempts_before, due_at, cause, reason, parked_at,
           count(*) OVER (PARTITION BY topic, partition, order_key) AS records
    FROM parked
    WHERE (:order_key::uuid IS NULL OR order_key = :order_key::uuid) AND (:topic::text IS NULL OR topic = :topic::text)
      AND (:after_topic::text IS NULL OR (topic, partition, order_key) > (:after_topic::text, :after_partition::int, :after_key::uuid))
    ORDER BY topic, partition, order_key, record_offset
) AS first
WHERE :cause::text IS NULL OR lower(cause) = lower(:cause::text)
ORDER BY topic, partition, order_key LIMIT :rows_max;

-- name: parked_record
-- One parked record, and how many records of its queue come before and after it.
SELECT p.key, p.value, p.header_names, p.header_values, p.timestamp_ms, p.order_key, p.attempts, p.attempts_before, p.due_at, p.cause, p.reason,
       p.parked_at, q.ahead, q.behind
FROM parked p, LATERAL (
    SELECT count(*) FILTER (WHERE o.record_offset < p.record_offset) AS ahead, count(*) FILTER (WHERE o.record_offset > p.record_offset) AS behind
    FROM parked o WHERE o.topic = p.topic AND o.partition = p.partition AND o.order_key = p.order_key
) AS q
WHERE p.topic = :topic AND p.partition = :partition AND p.record_offset = :record_offset;

-- name: parked_queue
-- All records of the queue that a record is in, in order, locked.
SELECT p.topic, p.partition, p.record_offset, p.order_key, p.key, p.value, p.header_names, p.header_values, p.timestamp_ms,
       p.attempts, p.attempts_before, p.due_at, p.cause, p.reason
FROM parked p JOIN parked it USING (topic, partition, order_key)
WHERE it.topic = :topic AND it.partition = :partition AND it.record_offset = :record_offset
ORDER BY p.record_offset
FOR UPDATE OF p;

-- name: make_due!
-- Make a parked record due now.
UPDATE parked SET due_at = :now WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset;

-- name: discard_replayed$
-- Discard the dead letter that a parked record was replayed from. No row: the record was not replayed.
UPDATE dead_letter SET status = 'DISCARDED', decided_at = :now, attempts = :attempts
WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset AND status = 'REPLAYED' AND imported_from IS NULL
RETURNING id;

-- name: add_discarded!
-- Keep a discarded record as a dead letter that cannot be replayed.
INSERT INTO dead_letter (id, status, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, attempts, at, decided_at)
SELECT :id, 'DISCARDED', topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
       coalesce(cause, 'Discarded'), coalesce(reason, 'discarded before it was tried'), attempts, :now, :now
FROM parked WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset;
