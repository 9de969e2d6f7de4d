-- name: claim_job^
-- Lease the oldest job that nobody works on and that is not postponed, and read how often its work has failed.
UPDATE operator_job SET leased_by = :worker, leased_until = :until
WHERE id = (
    SELECT id FROM operator_job WHERE ended_at IS NULL AND (leased_until IS NULL OR leased_until < :now)
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, tries;

-- name: renew_lease^
-- Keep a job for longer, and read whether it is to stop. No row: another process has it. One that has just ended is not lost.
UPDATE operator_job SET leased_until = :until WHERE id = :id AND leased_by = :worker RETURNING stop_who;

-- name: release_job!
-- Let any process go on with a job.
UPDATE operator_job SET leased_until = NULL WHERE id = :id AND leased_by = :worker;

-- name: postpone_job!
-- Let any process go on with a job whose work has failed, but not before a time. Later jobs go first meanwhile.
UPDATE operator_job SET leased_by = NULL, leased_until = :until, tries = tries + :tries, problem = :problem
WHERE id = :id AND leased_by = :worker AND ended_at IS NULL;

-- name: begin_item!
-- Mark that the work on a letter begins.
UPDATE operator_job_item SET begun_at = :now WHERE job_id = :job_id AND letter_id = :letter_id AND result IS NULL;

-- name: end_item!
-- Keep the result of a letter. The first result stays.
UPDATE operator_job_item SET result = :result, detail = :detail, said = :said, begun_at = coalesce(begun_at, :now)
WHERE job_id = :job_id AND letter_id = :letter_id AND result IS NULL;

-- name: end_job!
-- End a job. Its worker alone does. `problem`: why its work was given up.
UPDATE operator_job SET ended_at = :now, leased_until = NULL, problem = :problem WHERE id = :id AND leased_by = :worker;
