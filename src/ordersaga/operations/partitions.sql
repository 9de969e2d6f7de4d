-- name: partitions
-- Each partition's position, its pause, and the last report of its owner. A topic that is null matches all.
SELECT l.topic, l.partition, l.topic_id, l.next_offset, r.owner, r.state, r.problem, r.todo, r.problem_said, r.todo_said, r.reported_at,
       p.who AS paused_by, p.why AS pause_reason, p.at AS paused_at
FROM ledger l
LEFT JOIN partition_report r USING (topic, partition)
LEFT JOIN paused_partition p USING (topic, partition)
WHERE (:topic::text IS NULL OR topic = :topic::text) AND (:partition::int IS NULL OR partition = :partition::int)
  AND (:after_topic::text IS NULL OR (topic, partition) > (:after_topic::text, :after_partition::int))
ORDER BY topic, partition LIMIT :rows_max;

-- name: report_partitions!
-- Replace the reports of these partitions.
INSERT INTO partition_report (topic, partition, owner, state, problem, todo, problem_said, todo_said, reported_at)
SELECT t.topic, t.partition, :owner, t.state, t.problem, t.todo, t.problem_said, t.todo_said, :now
FROM unnest(:topics::text[], :partitions::int[], :states::text[], :problems::text[], :todos::text[], :problems_said::text[], :todos_said::text[])
     AS t (topic, partition, state, problem, todo, problem_said, todo_said)
ON CONFLICT (topic, partition) DO UPDATE SET
    owner = EXCLUDED.owner, state = EXCLUDED.state, problem = EXCLUDED.problem, todo = EXCLUDED.todo,
    problem_said = EXCLUDED.problem_said, todo_said = EXCLUDED.todo_said, reported_at = EXCLUDED.reported_at;
