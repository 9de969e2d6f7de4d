-- name: counts_changes$
-- Whether PostgreSQL counts the rows that a transaction changes: `on` or `off`.
SELECT current_setting('track_counts');

-- name: changed_rows
-- How many rows of each table this transaction has written so far. The counters may include rows of the session's last transactions, so
-- only the difference between two reads is meaningful.
SELECT relname::text AS table_name, n_tup_ins + n_tup_upd + n_tup_del AS rows
FROM pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY relname;
