-- name: newest_flow$
-- When the service was looked at last.
SELECT max(at) FROM flow_moment;

-- name: add_flow!
-- Keep what a look has found.
INSERT INTO flow_moment (at, topics, calls, partitions) VALUES (:at, :topics::jsonb, :calls::jsonb, :partitions::jsonb) ON CONFLICT (at) DO NOTHING;

-- name: flow
-- The last moment of each stretch of so many seconds since a time, the oldest first. `topic` not null: with the partitions of that topic.
SELECT at, topics, calls, partitions -> :topic::text AS partitions FROM flow_moment
WHERE at IN (SELECT max(at) FROM flow_moment WHERE at > :since GROUP BY floor(extract(epoch FROM at) / :every_s::float8))
ORDER BY at;

-- name: prune_flow$
-- Delete some moments that are older than their retention.
WITH gone AS (
    DELETE FROM flow_moment WHERE at IN (SELECT at FROM flow_moment WHERE at < :before ORDER BY at LIMIT :rows_max) RETURNING 1
)
SELECT count(*) FROM gone;
