-- name: waiting^
-- How much about these orders is still to be done: records to publish, parked records, and open letters.
SELECT (SELECT count(*) FROM outbox WHERE key = ANY (:keys::bytea[])) AS outbox,
       (SELECT count(*) FROM parked WHERE order_key = ANY (:order_ids::uuid[])) AS parked,
       (SELECT count(*) FROM dead_letter WHERE status = 'OPEN' AND order_key = ANY (:order_ids::uuid[])) AS letters;

-- name: letters_about
-- The letters of these orders, and those without a key whose value names one of them.
SELECT id, value, header_values, reason, stacktrace, said FROM dead_letter
WHERE order_key = ANY (:order_ids::uuid[])
   OR order_key IS NULL AND EXISTS (SELECT FROM unnest(:keys::bytea[]) AS named (id) WHERE position(named.id IN value) > 0)
ORDER BY id FOR UPDATE;

-- name: rewrite_letter!
-- Replace what a letter repeats.
UPDATE dead_letter SET value = :value, header_values = :header_values, reason = :reason, stacktrace = :stacktrace, said = :said WHERE id = :id;

-- name: acts_about
-- What operators did about these orders.
SELECT id, why, "before", "after" FROM operator_act WHERE order_key = ANY (:order_ids::uuid[]) ORDER BY id FOR UPDATE;

-- name: rewrite_act!
-- Replace what an act repeats.
UPDATE operator_act SET why = :why, "before" = :before, "after" = :after WHERE id = :id;
