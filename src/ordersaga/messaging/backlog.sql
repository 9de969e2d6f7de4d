-- name: backlog
-- How many rows wait in the outbox, are parked or are open dead letters, and since when. The outbox is scanned by ctid, since an index scan
-- would also visit deleted rows.
SELECT outbox_rows, oldest_adopt_at,
       parked_rows, oldest_parked_at, dead_letters_open, oldest_letter_at
FROM (SELECT count(*) AS outbox_rows, min(adopt_at) AS oldest_adopt_at FROM outbox WHERE ctid >= '(0,0)') AS o,
     (SELECT count(*) AS parked_rows, min(parked_at) AS oldest_parked_at FROM parked) AS p,
     (SELECT count(*) AS dead_letters_open, min(at) AS oldest_letter_at FROM dead_letter WHERE status = 'OPEN') AS l;

-- name: outbox_topics
-- The outbox by topic: how many rows, and when the oldest could be adopted.
SELECT topic, count(*) AS rows, min(adopt_at) AS oldest_adopt_at FROM outbox GROUP BY topic ORDER BY topic;

-- name: refused_letters
-- Open letters of records that Kafka refused, by topic, with the reason of one of them.
SELECT topic, min(partition) AS partition, count(*) AS letters, min(at) AS oldest_at, max(reason) AS reason
FROM dead_letter WHERE status = 'OPEN' AND cause = :cause GROUP BY topic ORDER BY topic;
