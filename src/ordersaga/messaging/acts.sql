-- name: add_operator_act!
-- Insert the audit row of an operator's act.
INSERT INTO operator_act (at, who, what, target, why, "before", "after") VALUES (:now, :who, :what, :target, :why, :before, :after);

-- name: operator_acts
-- The acts on these targets, in order.
SELECT at, who, what, target, why, "before", "after" FROM operator_act WHERE target = ANY (:targets::text[]) ORDER BY id;
