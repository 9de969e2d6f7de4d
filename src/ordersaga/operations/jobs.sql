-- name: add_job!
-- Insert a job.
INSERT INTO operator_job (id, act, dry_run, who, why, letters_per_s, failures_max, wait_s, type_id, created_at)
VALUES (:id, :act, :dry_run, :who, :why, :letters_per_s, :failures_max, :wait_s, :type_id, :now);

-- name: add_items!
-- Insert a job's letters, in the order of the work.
INSERT INTO operator_job_item (job_id, number, letter_id)
SELECT :job_id, number, letter_id FROM unnest(:letter_ids::uuid[]) WITH ORDINALITY AS t (letter_id, number);

-- name: jobs
-- Jobs with the numbers of their letters by result, the latest first, and, of a job that no process works on, the jobs before it. A condition
-- that is null matches all.
SELECT j.id, j.act, j.dry_run, j.who, j.why, j.letters_per_s, j.failures_max, j.wait_s, j.type_id, j.created_at, j.ended_at, j.stop_who, j.stop_why, j.problem,
       (SELECT json_object_agg(result, items)::text FROM (
            SELECT coalesce(i.result, CASE WHEN i.begun_at IS NULL THEN 'waiting' ELSE 'in flight' END) AS result, count(*) AS items
            FROM operator_job_item i WHERE i.job_id = j.id GROUP BY 1) AS counted) AS counts,
       CASE WHEN j.ended_at IS NULL AND (j.leased_until IS NULL OR j.leased_until < :now) THEN ARRAY(
            SELECT o.id FROM operator_job o
            WHERE o.ended_at IS NULL AND o.id <> j.id
              AND CASE WHEN o.leased_until >= :now THEN o.leased_by IS NOT NULL ELSE o.created_at < j.created_at END
            ORDER BY o.created_at LIMIT 20) END AS waits_for
FROM operator_job j
WHERE (:id::uuid IS NULL OR j.id = :id::uuid)
  AND (:after_at::timestamptz IS NULL OR (j.created_at, j.id) < (:after_at::timestamptz, :after_id::uuid))
ORDER BY j.created_at DESC, j.id DESC LIMIT :rows_max;

-- name: lock_job^
-- A job, its row locked.
SELECT ended_at, stop_who FROM operator_job WHERE id = :id FOR UPDATE;

-- name: stop_job!
-- Ask the process that works on a job to stop. A postponed job is claimed at once, to end it.
UPDATE operator_job SET stop_who = :who, stop_why = :why, leased_until = CASE WHEN leased_by IS NOT NULL THEN leased_until END WHERE id = :id;

-- name: end_unbegun_job^
-- End a job that no process works on and that has begun with no letter whose result is unknown. No row: a process has to end it.
UPDATE operator_job SET ended_at = :now, leased_by = NULL, leased_until = NULL
WHERE id = :id AND (leased_until IS NULL OR leased_until < :now)
  AND NOT EXISTS (SELECT FROM operator_job_item i WHERE i.job_id = :id AND i.begun_at IS NOT NULL AND i.result IS NULL)
RETURNING act, dry_run;

-- name: leave_items!
-- Keep that a job has left all its remaining letters alone.
UPDATE operator_job_item SET result = :result, detail = :detail, said = :said, begun_at = coalesce(begun_at, :now)
WHERE job_id = :job_id AND result IS NULL;

-- name: items
-- The letters of a job with their results, in the order of the work.
SELECT i.number, i.letter_id, i.begun_at, i.result, i.detail, d.topic, d.partition, d.record_offset, d.order_key, d.status, i.said
FROM operator_job_item i LEFT JOIN dead_letter d ON d.id = i.letter_id
WHERE i.job_id = :job_id AND i.number > :after ORDER BY i.number LIMIT :rows_max;
