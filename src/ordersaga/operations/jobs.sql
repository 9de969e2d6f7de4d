-- name: add_job!
-- Insert a job.
INSERT INTO operator_job (id, act, dry_run, who, why, letters_per_s, failures_max, wait_s, type_id, created_at)
VALUES (:id, :act, :dry_run, :who, :why, :letters_per_s, :failures_max, :wait_s, :type_id, :now);

-- name: add_items!
-- Insert a job's letters, in the order of the work.
INSERT INTO operator_job_item (job_id, number, letter_id)
SELECT :job_id, number, letter_id FROM unnest(:letter_ids::uuid[]) WITH ORDINALITY AS t (letter_id, number);

-- name: jobs
-- Jobs with the numbers of their letters by result, the latest first. A condition that is null matches all.
SELECT j.id, j.act, j.dry_run, j.who, j.why, j.letters_per_s, j.failures_max, j.wait_s, j.type_id, j.created_at, j.ended_at, j.stop_who, j.stop_why,
       (SELECT json_object_agg(result, items)::text FROM (
            SELECT coalesce(i.result, CASE WHEN i.begun_at IS NULL THEN 'waiting' ELSE 'in flight' END) AS result, count(*) AS items
            FROM operator_job_item i WHERE i.job_id = j.id GROUP BY 1) AS counted) AS counts
FROM operator_job j
WHERE (:id::uuid IS NULL OR j.id = :id::uuid)
  AND (:after_at::timestamptz IS NULL OR (j.created_at, j.id) < (:after_at::timestamptz, :after_id::uuid))
ORDER BY j.created_at DESC, j.id DESC LIMIT :rows_max;

-- name: lock_job^
-- A job, its row locked.
SELECT ended_at, stop_who FROM operator_job WHERE id = :id FOR UPDATE;

-- name: stop_job!
-- Ask the process that works on a job to stop.
UPDATE operator_job SET stop_who = :who, stop_why = :why WHERE id = :id;

-- name: items
-- The letters of a job with their results, in the order of the work.
SELECT i.number, i.letter_id, i.begun_at, i.result, i.detail, d.topic, d.partition, d.record_offset, d.order_key, d.status
FROM operator_job_item i LEFT JOIN dead_letter d ON d.id = i.letter_id
WHERE i.job_id = :job_id AND i.number > :after ORDER BY i.number LIMIT :rows_max;

-- name: claim_job$
-- Lease the oldest job that nobody works on.
UPDATE operator_job SET leased_by = :worker, leased_until = :until
WHERE id = (
    SELECT id FROM operator_job WHERE ended_at IS NULL AND (leased_until IS NULL OR leased_until < :now)
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- name: renew_lease^
-- Keep a job for longer, and read whether it is to stop. No row: another process has it. One that has just ended is not lost.
UPDATE operator_job SET leased_until = :until WHERE id = :id AND leased_by = :worker RETURNING stop_who;

-- name: release_job!
-- Let any process go on with a job.
UPDATE operator_job SET leased_until = NULL WHERE id = :id AND leased_by = :worker;

-- name: begin_item!
-- Mark that the work on a letter begins.
UPDATE operator_job_item SET begun_at = :now WHERE job_id = :job_id AND letter_id = :letter_id AND result IS NULL;

-- name: end_item!
-- Keep the result of a letter. The first result stays.
UPDATE operator_job_item SET result = :result, detail = :detail, begun_at = coalesce(begun_at, :now)
WHERE job_id = :job_id AND letter_id = :letter_id AND result IS NULL;

-- name: end_job!
-- End a job. Its worker alone does.
UPDATE operator_job SET ended_at = :now, leased_until = NULL WHERE id = :id AND leased_by = :worker;
