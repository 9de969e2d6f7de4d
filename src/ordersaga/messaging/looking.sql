-- name: left_by_others
-- Whether there is anything for a consumer to read.
SELECT EXISTS (SELECT FROM paused_partition) AS any_paused, EXISTS (SELECT FROM parked) AS any_parked;
