-- name: letters_of_customer
-- The letters of these orders, and those without an order whose value names one of them, or the customer.
SELECT id FROM dead_letter
WHERE order_key = ANY (:order_ids::uuid[])
   OR order_key IS NULL AND EXISTS (SELECT FROM unnest(:names::bytea[]) AS named (id) WHERE position(named.id IN value) > 0)
ORDER BY id;

-- name: waiting^
-- How much is still to be done: records to publish, parked records, and open letters.
SELECT (SELECT count(*) FROM outbox WHERE key = ANY (:outbox_keys::bytea[])) AS outbox,
       (SELECT count(*) FROM parked WHERE order_key = ANY (:parked_keys::uuid[])) AS parked,
       (SELECT count(*) FROM dead_letter WHERE status = 'OPEN' AND id = ANY (:letter_ids::uuid[])) AS letters;

-- name: lock_letters
-- These letters, of which each may have megabytes.
SELECT id FROM dead_letter WHERE id = ANY (:letter_ids::uuid[]) ORDER BY id FOR UPDATE;

-- name: letter_texts^
-- What a letter may repeat of an address.
SELECT id, value, header_values, reason, stacktrace, said FROM dead_letter WHERE id = :id;

-- name: rewrite_letter!
-- Replace what a letter repeats.
UPDATE dead_letter SET value = :value, header_values = :header_values, reason = :reason, stacktrace = :stacktrace, said = :said, erased_at = :now
WHERE id = :id;

-- name: jobs_about
-- The jobs that have one of these letters.
SELECT DISTINCT job_id FROM operator_job_item WHERE letter_id = ANY (:letter_ids::uuid[]) ORDER BY job_id;

-- name: job_items_about
-- What became of these letters in jobs.
SELECT job_id, number, detail, said FROM operator_job_item WHERE letter_id = ANY (:letter_ids::uuid[]) AND detail IS NOT NULL
ORDER BY job_id, number FOR UPDATE;

-- name: rewrite_job_item!
-- Replace what an item of a job repeats.
UPDATE operator_job_item SET detail = :detail, said = :said WHERE job_id = :job_id AND number = :number;

-- name: lock_jobs
-- What people and errors said about jobs.
SELECT id, why, stop_why, problem FROM operator_job WHERE id = ANY (:job_ids::uuid[]) ORDER BY id FOR UPDATE;

-- name: rewrite_job!
-- Replace what a job repeats.
UPDATE operator_job SET why = :why, stop_why = :stop_why, problem = :problem WHERE id = :id;

-- name: acts_about
-- What operators did about these orders, letters and jobs. An act repeats a letter that was edited.
SELECT id FROM operator_act WHERE order_key = ANY (:keys::uuid[]) OR target = ANY (:targets::text[])
ORDER BY id FOR UPDATE;

-- name: act_texts^
-- What an act may repeat of an address.
SELECT id, why, "before", "after" FROM operator_act WHERE id = :id;

-- name: rewrite_act!
-- Replace what an act repeats.
UPDATE operator_act SET why = :why, "before" = :before, "after" = :after WHERE id = :id;
