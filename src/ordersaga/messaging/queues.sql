-- name: parked_queues
-- The first record of each queue, and how many records the queue has. A condition that is null matches all. Walks from queue to queue along the
-- index, and stops after `rows_max` queues, however many records are parked.
WITH RECURSIVE queue AS (
    (SELECT topic, partition, order_key FROM parked
     WHERE (:order_key::uuid IS NULL OR order_key = :order_key::uuid) AND (:topic::text IS NULL OR topic = :topic::text)
       AND (:after_topic::text IS NULL OR (topic, partition, order_key) > (:after_topic::text, :after_partition::int, :after_key::uuid))
     ORDER BY topic, partition, order_key LIMIT 1)
    UNION ALL
    SELECT next.* FROM queue q, LATERAL (
        SELECT p.topic, p.partition, p.order_key FROM parked p
        WHERE (:order_key::uuid IS NULL OR p.order_key = :order_key::uuid) AND (:topic::text IS NULL OR p.topic = :topic::text)
          AND (p.topic, p.partition, p.order_key) > (q.topic, q.partition, q.order_key)
        ORDER BY p.topic, p.partition, p.order_key LIMIT 1) AS next
)
SELECT * FROM (
    SELECT q.topic, q.partition, first.record_offset, q.order_key, first.attempts, first.attempts_before, first.due_at, first.cause, first.reason,
           first.parked_at, counted.records, first.said
    FROM queue q, LATERAL (
        SELECT * FROM parked p WHERE p.topic = q.topic AND p.partition = q.partition AND p.order_key = q.order_key ORDER BY p.record_offset LIMIT 1
    ) AS first, LATERAL (
        SELECT count(*) AS records FROM parked p WHERE p.topic = q.topic AND p.partition = q.partition AND p.order_key = q.order_key
    ) AS counted
    WHERE :cause::text IS NULL OR lower(first.cause) = lower(:cause::text)
    LIMIT :rows_max
) AS found
ORDER BY topic, partition, order_key;

-- name: parked_record
-- One parked record, and how many records of its queue come before and after it.
SELECT p.key, p.value, p.header_names, p.header_values, p.timestamp_ms, p.order_key, p.attempts, p.attempts_before, p.due_at, p.cause, p.reason,
       p.parked_at, q.ahead, q.behind, p.said
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
                         cause, reason, said, attempts, at, decided_at)
SELECT :id, 'DISCARDED', topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
       coalesce(cause, 'Discarded'), coalesce(reason, 'discarded before it was tried'), said, attempts, :now, :now
FROM parked WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset;
