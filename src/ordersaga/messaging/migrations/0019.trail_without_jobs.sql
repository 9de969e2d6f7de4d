-- transactional: false
-- The acts of one bulk job, and those of people alone.
DROP INDEX CONCURRENTLY IF EXISTS operator_act_job_idx;
CREATE INDEX CONCURRENTLY operator_act_job_idx ON operator_act (job_id, id) WHERE job_id IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS operator_act_own_idx;
CREATE INDEX CONCURRENTLY operator_act_own_idx ON operator_act (id) WHERE job_id IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS operator_act_own_who_idx;
CREATE INDEX CONCURRENTLY operator_act_own_who_idx ON operator_act (who, id) WHERE job_id IS NULL;
