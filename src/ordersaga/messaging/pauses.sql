-- name: paused_partitions
-- The partitions that operators have paused.
SELECT topic, partition, who, why, at FROM paused_partition;

-- name: pause_partition!
-- Pause a partition. A partition that is paused already stays as it is.
INSERT INTO paused_partition (topic, partition, who, why, at) VALUES (:topic, :partition, :who, :why, :now) ON CONFLICT DO NOTHING;

-- name: resume_partition!
-- Remove a pause.
DELETE FROM paused_partition WHERE topic = :topic AND partition = :partition;
