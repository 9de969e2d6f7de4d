-- part: matches
-- The conditions of a search of dead letters. One that is null matches all. The cause may be given without its Java package.
(:id_patterns::text[] IS NULL OR id::text LIKE ANY (:id_patterns::text[]))
  AND (:first_id::uuid IS NULL OR id BETWEEN :first_id::uuid AND :last_id::uuid)
  AND (:order_key::uuid IS NULL OR order_key = :order_key::uuid)
  AND (:topic::text IS NULL OR topic = :topic::text)
  AND (:cause::text IS NULL OR lower(cause) = lower(:cause::text) OR right(lower(cause), length(:cause::text) + 1) = '.' || lower(:cause::text))
  AND (:cause::text IS NULL OR reverse(lower(cause)) LIKE regexp_replace(reverse(lower(:cause::text)), '([\\%_])', '\\\1', 'g') || '%')
  AND {standing}

-- part: standing
-- The conditions by which letters of one order, topic and cause may differ.
(:status::text IS NULL OR status = :status::text)
  AND (:statuses::text[] IS NULL OR status = ANY (:statuses::text[]))
  AND (:before::timestamptz IS NULL OR at < :before::timestamptz)

-- part: columns
-- A dead letter without its bytes.
id, status, topic, partition, record_offset, order_key, cause, reason, attempts, at, follows, replayed_as, imported_from, consumer_group,
       said

-- name: dead_letters
-- Dead letters that match, the latest first.
-- The latest letter of an order is looked for row by row: as a join it could be planned over all letters. Of an equation PostgreSQL would
-- expect that hardly any row fulfils it, and read all letters before it sorts them; of a CASE it expects every other one.
SELECT {columns}
FROM dead_letter d
WHERE {matches}
  AND (:after_at::timestamptz IS NULL OR (at, id) < (:after_at::timestamptz, :after_id::uuid))
  AND CASE WHEN NOT :latest_of_order::boolean OR order_key IS NULL THEN true ELSE id = (
      SELECT n.id FROM dead_letter n
      WHERE n.order_key = d.order_key AND n.topic = d.topic AND n.cause = d.cause AND {standing}
      ORDER BY n.at DESC, n.id DESC LIMIT 1) END
ORDER BY at DESC, id DESC LIMIT :rows_max;

-- name: dead_letters_by_id
-- Dead letters by their ids.
SELECT {columns}
FROM dead_letter WHERE id = ANY (:ids::uuid[]);

-- name: dead_letter_causes
-- The same, counted by topic, cause and status: the most frequent first, each with the reason of its latest letter.
SELECT topic, cause, status, count(*) AS letters, min(at) AS first_at, max(at) AS last_at, (array_agg(reason ORDER BY at DESC))[1] AS last_reason,
       (array_agg(said ORDER BY at DESC))[1] AS last_said
FROM dead_letter
WHERE {matches}
GROUP BY topic, cause, status
ORDER BY letters DESC, topic, cause, status;

-- name: dead_letter_repeats
-- Of each of these letters: how many letters of its order, topic and cause there are, of any status, and since when.
SELECT d.id, count(*) AS letters, min(g.at) AS first_at
FROM dead_letter d JOIN dead_letter g ON g.order_key = d.order_key AND g.topic = d.topic AND g.cause = d.cause
WHERE d.id = ANY (:ids::uuid[])
GROUP BY d.id;

-- name: dead_letter_contents
-- Key, value, headers and stack trace of dead letters.
SELECT id, key, value, header_names, header_values, timestamp_ms, stacktrace FROM dead_letter WHERE id = ANY (:ids::uuid[]);

-- name: dead_letter_chain
-- All letters of one record, from the first to the last that follows it.
WITH RECURSIVE chain AS (
    SELECT id, follows FROM dead_letter WHERE id = :id
    UNION
    SELECT d.id, d.follows FROM dead_letter d JOIN chain c ON d.id = c.follows OR d.follows = c.id
)
SELECT d.id, d.status, d.topic, d.partition, d.record_offset, d.order_key, d.cause, d.reason, d.attempts, d.at, d.follows, d.replayed_as,
       d.imported_from, d.consumer_group, d.said
FROM chain JOIN dead_letter d USING (id) ORDER BY d.at, d.attempts;

-- name: replay_results
-- What became of letters since their replay: the letter that followed, or the parked record and its attempts.
SELECT d.id, d.status, n.cause AS next_cause, n.reason AS next_reason, n.id AS next_id,
       p.attempts, p.attempts_before, p.due_at, p.cause AS parked_cause, p.reason AS parked_reason
FROM dead_letter d
LEFT JOIN dead_letter n ON n.follows = d.id
LEFT JOIN parked p ON d.status = 'REPLAYED' AND d.imported_from IS NULL
     AND p.topic = d.topic AND p.partition = d.partition AND p.record_offset = d.record_offset
WHERE d.id = ANY (:ids::uuid[]);
