-- name: partitions
-- Each partition's position, its pause, and the last report of its owner. A topic that is null matches all.
SELECT l.topic, l.partition, l.topic_id, l.next_offset, r.owner, r.state, r.problem, r.todo, r.reported_at,
       p.who AS paused_by, p.why AS pause_reason, p.at AS paused_at
FROM ledger l
LEFT JOIN partition_report r USING (topic, partition)
LEFT JOIN paused_partition p USING (topic, partition)
WHERE (:topic::text IS NULL OR topic = :topic::text) AND (:partition::int IS NULL OR partition = :partition::int)
  AND (:after_topic::text IS NULL OR (topic, partition) > (:after_topic::text, :after_partition::int))
ORDER BY topic, partition LIMIT :rows_max;

-- name: report_partitions!
-- Replace the reports of these partitions.
INSERT INTO partition_report (topic, partition, owner, state, problem, todo, reported_at)
SELECT t.topic, t.partition, :owner, t.state, t.problem, t.todo, :now
FROM unnest(:topics::text[], :partitions::int[], :states::text[], :problems::text[], :todos::text[]) AS t (topic, partition, state, problem, todo)
ON CONFLICT (topic, partition) DO UPDATE SET
    owner = EXCLUDED.owner, state = EXCLUDED.state, problem = EXCLUDED.problem, todo = EXCLUDED.todo, reported_at = EXCLUDED.reported_at;
