-- name: missed_sources
-- Partitions whose turns have left rows that should have been published before a time.
SELECT DISTINCT source_topic, source_partition FROM outbox WHERE source_topic IS NOT NULL AND adopt_at < :before;
