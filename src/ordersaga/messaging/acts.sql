-- name: add_operator_act!
-- Insert the audit row of an operator's act.
INSERT INTO operator_act (at, who, what, target, order_key, job_id, why, "before", "after")
VALUES (:now, :who, :what, :target, :order_key, :job_id, :why, :before, :after);

-- name: operator_acts
-- The acts on these targets, in order.
SELECT at, who, what, target, why, "before", "after", job_id FROM operator_act WHERE target = ANY (:targets::text[]) ORDER BY id;

-- name: operator_acts_page
-- Acts, the latest first. A condition that is null matches all. `by_jobs` false: without those that bulk jobs have carried out.
SELECT id, at, who, what, target, why, "before", "after", job_id FROM operator_act
WHERE (:target::text IS NULL OR target = :target::text) AND (:who::text IS NULL OR who = :who::text)
  AND (:order_key::uuid IS NULL OR order_key = :order_key::uuid)
  AND (:job_id::uuid IS NULL OR job_id = :job_id::uuid) AND (:by_jobs::boolean OR job_id IS NULL) AND (:before_id::bigint IS NULL OR id < :before_id::bigint)
ORDER BY id DESC LIMIT :rows_max;
