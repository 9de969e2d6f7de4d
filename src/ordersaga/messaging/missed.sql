-- name: missed_sources
-- Partitions with outbox rows of turns that were to be published before a time.
SELECT DISTINCT source_topic, source_partition FROM outbox WHERE source_topic IS NOT NULL AND adopt_at < :before
ORDER BY source_topic, source_partition;
