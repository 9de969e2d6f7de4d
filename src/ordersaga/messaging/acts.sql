-- name: add_operator_act!
-- Who did what to what, and why.
INSERT INTO operator_act (at, who, what, target, why, "before", "after") VALUES (:now, :who, :what, :target, :why, :before, :after);

-- name: operator_acts
-- What was done to these targets, in order.
SELECT at, who, what, target, why, "before", "after" FROM operator_act WHERE target = ANY (:targets::text[]) ORDER BY id;
