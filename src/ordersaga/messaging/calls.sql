-- name: add_calls!
-- Add what a process has counted since it told last.
INSERT INTO call_count (name, owner, total, in_hand, reported_at)
SELECT n.name, :owner, n.count, n.in_hand, :now
FROM unnest(:names::text[], :counts::bigint[], :in_hand::int[]) AS n (name, count, in_hand)
ON CONFLICT (name, owner) DO UPDATE
SET total = call_count.total + excluded.total, in_hand = excluded.in_hand, reported_at = excluded.reported_at;

-- name: fold_calls!
-- Put together the counts of processes that have told nothing since. One that lives all the same adds to a new row.
WITH gone AS (DELETE FROM call_count WHERE owner <> '' AND reported_at < :before RETURNING name, total)
INSERT INTO call_count (name, owner, total, in_hand, reported_at)
SELECT name, '', sum(total), 0, :before FROM gone GROUP BY name
ON CONFLICT (name, owner) DO UPDATE SET total = call_count.total + excluded.total;

-- name: calls
-- The service's counts: the calls of all its processes, and those in hand of the processes that have told so lately.
SELECT name, sum(total)::bigint AS total, coalesce(sum(in_hand) FILTER (WHERE reported_at > :since), 0)::int AS in_hand
FROM call_count GROUP BY name ORDER BY name;
