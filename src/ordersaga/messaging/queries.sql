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

-- name: outbox_block$
-- First number for the outbox rows of a transaction that is no turn.
SELECT nextval('outbox_block');

-- name: outbox_of_partitions
-- What turns of partitions left unpublished, oldest first.
SELECT o.id, o.topic, o.partition, o.key, o.value, o.message_id, o.causation_id, o.traceparent, o.header_names, o.header_values
FROM outbox o JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition)
     ON o.source_topic = t.topic AND o.source_partition = t.partition
WHERE o.id > :after_id ORDER BY o.id LIMIT :rows_max;

-- name: missed_sources
-- Partitions whose turns have left rows that should have been published before a time.
SELECT DISTINCT source_topic, source_partition FROM outbox WHERE source_topic IS NOT NULL AND adopt_at < :before;

-- name: adopt_outbox
-- Take over rows whose writer has not published them in time; nobody else takes them again before `leased_until`.
WITH late AS (
    SELECT id FROM outbox
    WHERE source_topic IS NULL AND adopt_at <= :now AND (leased_until IS NULL OR leased_until <= :now) AND id <> ALL (:in_flight::bigint[])
    ORDER BY id LIMIT :rows_max FOR UPDATE SKIP LOCKED
)
UPDATE outbox o SET leased_until = :leased_until FROM late WHERE o.id = late.id
RETURNING o.id, o.topic, o.partition, o.key, o.value, o.message_id, o.causation_id, o.traceparent, o.header_names, o.header_values;

-- name: delete_outbox!
-- Forget rows that the broker has acknowledged. Nobody waits for the disk: a row that comes back is published again, with the same id.
WITH soon AS (SELECT set_config('synchronous_commit', 'off', true))
DELETE FROM outbox USING soon WHERE id = ANY (:ids::bigint[]);

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

-- name: take_unpublished
-- Some of them, to be published again.
UPDATE dead_letter SET unpublished = NULL WHERE id IN (
    SELECT id FROM dead_letter WHERE unpublished IS NOT NULL AND status = 'OPEN' AND topic = ANY (:topics::text[])
    ORDER BY at, id LIMIT :rows_max FOR UPDATE SKIP LOCKED
)
RETURNING id, topic, partition, record_offset, key, value, header_names, header_values, timestamp_ms, cause, reason, attempts;

-- name: refused_letters
-- Open letters of records that Kafka had refused, by topic, with the reason of one of them.
SELECT topic, min(partition) AS partition, count(*) AS letters, min(at) AS oldest_at, max(reason) AS reason
FROM dead_letter WHERE status = 'OPEN' AND cause = :cause GROUP BY topic ORDER BY topic;

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

-- name: claim_idempotency_keys!
-- The first use of a key wins; a second one waits here until the first is committed.
INSERT INTO idempotency_key (scope, key, body_hash, resource, at)
SELECT scope, key, body_hash, resource, :now
FROM unnest(:scopes::text[], :keys::text[], :body_hashes::bytea[], :resources::uuid[]) AS t (scope, key, body_hash, resource)
ORDER BY scope, key
ON CONFLICT DO NOTHING;

-- name: release_idempotency_keys!
-- Forget keys whose requests were refused in the transaction that claimed them. Whoever waits for one of them claims it then.
DELETE FROM idempotency_key k
USING unnest(:scopes::text[], :keys::text[], :resources::uuid[]) AS t (scope, key, resource)
WHERE k.scope = t.scope AND k.key = t.key AND k.resource = t.resource;

-- name: idempotency_keys
-- What keys stand for now.
SELECT scope, key, body_hash, resource
FROM idempotency_key JOIN unnest(:scopes::text[], :keys::text[]) AS t (scope, key) USING (scope, key);

-- name: prune_idempotency_key$
-- Forget keys that are older than they are promised to be kept, some at a time.
WITH gone AS (
    DELETE FROM idempotency_key WHERE ctid IN (SELECT ctid FROM idempotency_key WHERE at < :before LIMIT :rows_max) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: prune_dead_letter$
-- Forget dead letters that were dealt with long ago, some at a time. Open ones stay for ever. When a letter came does not count: what an
-- operator has just put right must stay to be looked up.
WITH gone AS (
    DELETE FROM dead_letter WHERE id IN (
        SELECT id FROM dead_letter WHERE status IN ('RESOLVED', 'DISCARDED', 'SUPERSEDED') AND decided_at < :before LIMIT :rows_max
    ) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: prune_operator_act$
-- Forget what operators did long ago, some at a time.
WITH gone AS (
    DELETE FROM operator_act WHERE id IN (SELECT id FROM operator_act WHERE at < :before ORDER BY id LIMIT :rows_max) RETURNING 1
)
SELECT count(*) FROM gone;

-- name: fill
-- How full the runtime's tables are. The outbox is read as it lies (by ctid): an index of it leads to what is gone, too.
SELECT outbox_rows, oldest_adopt_at,
       parked_rows, oldest_parked_at, dead_letters_open, oldest_letter_at
FROM (SELECT count(*) AS outbox_rows, min(adopt_at) AS oldest_adopt_at FROM outbox WHERE ctid >= '(0,0)') AS o,
     (SELECT count(*) AS parked_rows, min(parked_at) AS oldest_parked_at FROM parked) AS p,
     (SELECT count(*) AS dead_letters_open, min(at) AS oldest_letter_at FROM dead_letter WHERE status = 'OPEN') AS l;

-- name: outbox_topics
-- What of the outbox has waited, by topic.
SELECT topic, count(*) AS rows, min(adopt_at) AS oldest_adopt_at FROM outbox GROUP BY topic ORDER BY topic;

-- name: parked_keys
-- Which keys of partitions have parked records, so that later records of theirs queue behind.
SELECT DISTINCT topic, partition, order_key
FROM parked JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition) USING (topic, partition);

-- name: park*!
-- Park records; one that was parked before is only counted again. One that was to wait behind another is due at once if that is gone,
-- since an operator has discarded it meanwhile: otherwise nobody would ever let it come.
INSERT INTO parked (topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                    attempts, due_at, cause, reason, parked_at)
VALUES (:topic, :partition, :record_offset, :order_key, :key, :value, :header_names, :header_values, :timestamp_ms, :attempts,
        CASE WHEN :due_at::timestamptz IS NOT NULL OR EXISTS (
                 SELECT FROM parked p WHERE p.topic = :topic AND p.partition = :partition AND p.order_key = :order_key
                                        AND p.record_offset < :record_offset)
             THEN :due_at::timestamptz ELSE :parked_at END,
        :cause, :reason, :parked_at)
ON CONFLICT (topic, partition, record_offset)
DO UPDATE SET attempts = EXCLUDED.attempts, due_at = EXCLUDED.due_at, cause = EXCLUDED.cause, reason = EXCLUDED.reason;

-- name: due_parked
-- The first record of each queue that is due; none of a key twice, since the second must wait for the first.
SELECT DISTINCT ON (p.topic, p.partition, p.order_key)
       p.topic, p.partition, p.record_offset, p.key, p.value, p.header_names, p.header_values, p.timestamp_ms, p.attempts, p.attempts_before
FROM parked p JOIN unnest(:topics::text[], :partitions::int[]) AS t (topic, partition) USING (topic, partition)
WHERE p.due_at <= :now
ORDER BY p.topic, p.partition, p.order_key, p.record_offset
LIMIT :rows_max;

-- name: lock_parked
-- Those of them that are still there, locked.
SELECT p.topic, p.partition, p.record_offset
FROM parked p JOIN unnest(:topics::text[], :partitions::int[], :offsets::bigint[]) AS t (topic, partition, record_offset)
     USING (topic, partition, record_offset)
ORDER BY p.topic, p.partition, p.record_offset
FOR UPDATE OF p;

-- name: postpone_parked!
-- Let a parked record wait longer, without counting that as a try.
UPDATE parked SET due_at = :due_at WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset;

-- name: bound_statements
-- How long a statement of this transaction may take, and wait for a lock.
SELECT set_config('statement_timeout', :statement_ms, true), set_config('lock_timeout', :lock_ms, true);

-- name: unpark!
-- Take records out of their queues and let the next of each queue come at once. A dead letter that was replayed is resolved.
WITH gone AS (
    DELETE FROM parked p
    USING unnest(:topics::text[], :partitions::int[], :offsets::bigint[]) AS t (topic, partition, record_offset)
    WHERE p.topic = t.topic AND p.partition = t.partition AND p.record_offset = t.record_offset
    RETURNING p.topic, p.partition, p.record_offset, p.order_key
), resolved AS (
    UPDATE dead_letter d SET status = 'RESOLVED', decided_at = :now FROM gone g
    WHERE d.topic = g.topic AND d.partition = g.partition AND d.record_offset = g.record_offset
      AND d.status = 'REPLAYED' AND d.imported_from IS NULL
), next AS (
    SELECT DISTINCT ON (p.topic, p.partition, p.order_key) p.topic, p.partition, p.record_offset
    FROM parked p JOIN gone g ON p.topic = g.topic AND p.partition = g.partition AND p.order_key = g.order_key
    WHERE p.record_offset > g.record_offset
    ORDER BY p.topic, p.partition, p.order_key, p.record_offset
)
UPDATE parked p SET due_at = :now FROM next
WHERE p.topic = next.topic AND p.partition = next.partition AND p.record_offset = next.record_offset AND p.due_at IS NULL;

-- name: dead_letters
-- Dead letters that fit, the latest first; a condition that is null fits all. A Java cause may be given without its package.
SELECT id, status, topic, partition, record_offset, order_key, cause, reason, attempts, at, follows, replayed_as, imported_from, consumer_group
FROM dead_letter
WHERE (:id_patterns::text[] IS NULL OR id::text LIKE ANY (:id_patterns::text[]))
  AND (:order_key::uuid IS NULL OR order_key = :order_key::uuid)
  AND (:topic::text IS NULL OR topic = :topic::text)
  AND (:cause::text IS NULL OR lower(cause) = lower(:cause::text) OR right(lower(cause), length(:cause::text) + 1) = '.' || lower(:cause::text))
  AND (:statuses::text[] IS NULL OR status = ANY (:statuses::text[]))
  AND (:before::timestamptz IS NULL OR at < :before::timestamptz)
ORDER BY at DESC, id LIMIT :rows_max;

-- name: dead_letter_causes
-- The same, counted by cause: the most frequent first, each with the reason of its latest.
SELECT topic, cause, status, count(*) AS letters, min(at) AS first_at, max(at) AS last_at, (array_agg(reason ORDER BY at DESC))[1] AS last_reason
FROM dead_letter
WHERE (:id_patterns::text[] IS NULL OR id::text LIKE ANY (:id_patterns::text[]))
  AND (:order_key::uuid IS NULL OR order_key = :order_key::uuid)
  AND (:topic::text IS NULL OR topic = :topic::text)
  AND (:cause::text IS NULL OR lower(cause) = lower(:cause::text) OR right(lower(cause), length(:cause::text) + 1) = '.' || lower(:cause::text))
  AND (:statuses::text[] IS NULL OR status = ANY (:statuses::text[]))
  AND (:before::timestamptz IS NULL OR at < :before::timestamptz)
GROUP BY topic, cause, status
ORDER BY letters DESC, topic, cause, status;

-- name: dead_letter_contents
-- The bytes of dead letters.
SELECT id, key, value, header_names, header_values, timestamp_ms, stacktrace FROM dead_letter WHERE id = ANY (:ids::uuid[]);

-- name: dead_letter_chain
-- All letters of one record: the first, what followed it, and so on.
WITH RECURSIVE chain AS (
    SELECT id, follows FROM dead_letter WHERE id = :id
    UNION
    SELECT d.id, d.follows FROM dead_letter d JOIN chain c ON d.id = c.follows OR d.follows = c.id
)
SELECT d.id, d.status, d.topic, d.partition, d.record_offset, d.order_key, d.cause, d.reason, d.attempts, d.at, d.follows, d.replayed_as,
       d.imported_from, d.consumer_group
FROM chain JOIN dead_letter d USING (id) ORDER BY d.at, d.attempts;

-- name: lock_dead_letter^
-- One dead letter, for an act upon it.
SELECT id, status, topic, partition, record_offset, order_key, cause, reason, attempts, at, follows, replayed_as, imported_from, consumer_group
FROM dead_letter WHERE id = :id FOR UPDATE;

-- name: mark_dead_letter!
-- What has become of a dead letter; `replayed_as` is the message-id of one that goes out on a topic.
UPDATE dead_letter SET status = :status, decided_at = :now, replayed_as = coalesce(:replayed_as::uuid, replayed_as) WHERE id = :id;

-- name: copy_dead_letter!
-- The edited copy of a dead letter, which names the one it was made from.
INSERT INTO dead_letter (id, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, stacktrace, attempts, at, follows, imported_from, consumer_group)
SELECT :copy_id, topic, partition, record_offset, coalesce(:order_key::uuid, order_key), key, :value, header_names, header_values, timestamp_ms,
       cause, reason, stacktrace, attempts, :now, id, imported_from, consumer_group
FROM dead_letter WHERE id = :id;

-- name: settle_published!
-- Letters that were to go out on a topic are resolved once they have: the broker's word removes their outbox rows.
UPDATE dead_letter d SET status = 'RESOLVED', decided_at = :now
WHERE d.status = 'REPLAYED' AND d.replayed_as IS NOT NULL AND NOT EXISTS (SELECT FROM outbox o WHERE o.message_id = d.replayed_as);

-- name: replay_outcomes
-- What has become of letters since their replay: the letter that followed, or how it stands in the parking.
SELECT d.id, d.status, n.cause AS next_cause, n.reason AS next_reason, n.id AS next_id,
       p.attempts, p.attempts_before, p.due_at, p.cause AS parked_cause, p.reason AS parked_reason
FROM dead_letter d
LEFT JOIN dead_letter n ON n.follows = d.id
LEFT JOIN parked p ON d.status = 'REPLAYED' AND d.imported_from IS NULL
     AND p.topic = d.topic AND p.partition = d.partition AND p.record_offset = d.record_offset
WHERE d.id = ANY (:ids::uuid[]);

-- name: lock_position$
-- Keep the owner of a partition from beginning a turn until this transaction ends; null: this service has never read it.
SELECT next_offset FROM ledger WHERE topic = :topic AND partition = :partition FOR UPDATE;

-- name: put_back!
-- Park the record of a dead letter again, due at once; that it was tried before stays known.
INSERT INTO parked (topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                    attempts, attempts_before, due_at, cause, reason, parked_at)
SELECT topic, partition, record_offset, :order_key, key, value, header_names, header_values, coalesce(timestamp_ms, 0),
       attempts, attempts, :now, cause, reason, :now
FROM dead_letter WHERE id = :id
ON CONFLICT DO NOTHING;

-- name: line_up!
-- After a record was put back into a queue: its first is due, the others wait for their turn.
UPDATE parked p SET due_at = CASE WHEN p.record_offset = first.record_offset THEN coalesce(p.due_at, :now) END
FROM (SELECT min(record_offset) AS record_offset FROM parked WHERE topic = :topic AND partition = :partition AND order_key = :order_key) first
WHERE p.topic = :topic AND p.partition = :partition AND p.order_key = :order_key;

-- name: known_dead_letters
-- Which of these letters are here already.
SELECT id FROM dead_letter WHERE id = ANY (:ids::uuid[]);

-- name: import_dead_letters*!
-- Keep letters that a partner's consumer gave up.
INSERT INTO dead_letter (id, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, stacktrace, attempts, at, imported_from, consumer_group)
VALUES (:id, :topic, :partition, :record_offset, :order_key, :key, :value, :header_names, :header_values, :timestamp_ms,
        :cause, :reason, :stacktrace, :attempts, :at, :imported_from, :consumer_group)
ON CONFLICT DO NOTHING;

-- name: parked_queues
-- The first record of each queue, and how many wait in it.
SELECT DISTINCT ON (topic, partition, order_key)
       topic, partition, record_offset, order_key, attempts, attempts_before, due_at, cause, reason, parked_at,
       count(*) OVER (PARTITION BY topic, partition, order_key) AS records
FROM parked
WHERE (:order_key::uuid IS NULL OR order_key = :order_key::uuid) AND (:topic::text IS NULL OR topic = :topic::text)
ORDER BY topic, partition, order_key, record_offset;

-- name: held_records
-- Records of an order that this service has not handled: parked, or given up and not put right since.
SELECT topic, partition, record_offset, 'PARKED' AS state, attempts, due_at, cause, reason, parked_at AS since
FROM parked WHERE order_key = :order_key
UNION ALL
SELECT topic, partition, record_offset, status, attempts, NULL, cause, reason, at
FROM dead_letter WHERE order_key = :order_key AND status IN ('OPEN', 'DISCARDED')
ORDER BY since;

-- name: parked_queue
-- The records of the queue that a record stands in, first things first, locked.
SELECT p.topic, p.partition, p.record_offset, p.order_key, p.key, p.value, p.header_names, p.header_values, p.timestamp_ms,
       p.attempts, p.attempts_before, p.due_at, p.cause, p.reason
FROM parked p JOIN parked it USING (topic, partition, order_key)
WHERE it.topic = :topic AND it.partition = :partition AND it.record_offset = :record_offset
ORDER BY p.record_offset
FOR UPDATE OF p;

-- name: make_due!
-- Let the first record of a queue be tried at once.
UPDATE parked SET due_at = :now WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset;

-- name: discard_replayed$
-- The dead letter that a parked record came from, if it did, is discarded with it.
UPDATE dead_letter SET status = 'DISCARDED', decided_at = :now, attempts = :attempts
WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset AND status = 'REPLAYED' AND imported_from IS NULL
RETURNING id;

-- name: add_discarded!
-- A discarded record stays readable as a dead letter that nobody will replay.
INSERT INTO dead_letter (id, status, topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
                         cause, reason, attempts, at, decided_at)
SELECT :id, 'DISCARDED', topic, partition, record_offset, order_key, key, value, header_names, header_values, timestamp_ms,
       coalesce(cause, 'Discarded'), coalesce(reason, 'discarded before it was tried'), attempts, :now, :now
FROM parked WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset;

-- name: add_operator_act!
-- Who did what to what, and why.
INSERT INTO operator_act (at, who, what, target, why, "before", "after") VALUES (:now, :who, :what, :target, :why, :before, :after);

-- name: operator_acts
-- What was done to these targets, in order.
SELECT at, who, what, target, why, "before", "after" FROM operator_act WHERE target = ANY (:targets::text[]) ORDER BY id;

-- name: counts_changes$
-- Whether PostgreSQL counts what a transaction changes: `on` or `off`.
SELECT current_setting('track_counts');

-- name: changed_rows
-- How many rows of each table this transaction has written so far. What is not yet reported of the session's last transactions may be in
-- it, so only the difference between two looks says something.
SELECT relname::text AS table_name, n_tup_ins + n_tup_upd + n_tup_del AS rows
FROM pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY relname;

-- name: arm_timers!
-- Set timers, also those that are set for another time already, but for those that somebody is just taking. No joins: an idle shop has no
-- timers, and a plan for none would compare each with all that a rush brings.
WITH free AS MATERIALIZED (
    SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) ORDER BY key FOR UPDATE SKIP LOCKED
), taken AS MATERIALIZED (
    SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) EXCEPT SELECT key FROM free
)
INSERT INTO timer (key, due_at)
SELECT key, due_at FROM unnest(:keys::uuid[], :due_ats::timestamptz[]) AS w (key, due_at) WHERE key NOT IN (SELECT key FROM taken)
ON CONFLICT (key) DO UPDATE SET due_at = EXCLUDED.due_at;

-- name: disarm_timers!
-- Take timers away, but for those that somebody is just taking.
DELETE FROM timer WHERE key = ANY (ARRAY (SELECT key FROM timer WHERE key = ANY (:keys::uuid[]) ORDER BY key FOR UPDATE SKIP LOCKED));

-- name: take_timers
-- Take timers that are due and that nobody else is just taking.
DELETE FROM timer WHERE key IN (
    SELECT key FROM timer WHERE due_at <= :now ORDER BY due_at LIMIT :rows_max FOR UPDATE SKIP LOCKED
) RETURNING key;

-- name: postpone_timer!
-- Look at one later.
UPDATE timer SET due_at = :due_at WHERE key = :key;
