-- name: begin!
-- The row of a kind, if this database has none yet.
INSERT INTO personal_data_position (kind, last_id) VALUES (:kind, :first_id) ON CONFLICT DO NOTHING;

-- name: claim^
-- Where a kind's clearing is, for one process at a time: no row while another one is at it.
SELECT last_id, at FROM personal_data_position WHERE kind = :kind FOR UPDATE SKIP LOCKED;

-- name: move!
-- Where it is now.
UPDATE personal_data_position SET last_id = :last_id, at = coalesce(:at::timestamptz, at) WHERE kind = :kind;

-- name: to_look_at_again
-- Orders that were left alone before, and whose time has come.
SELECT order_id FROM personal_data_later WHERE look_at <= :now ORDER BY look_at LIMIT :rows_max FOR UPDATE SKIP LOCKED;

-- name: leave_for_later!
-- Leave orders alone until then.
INSERT INTO personal_data_later (order_id, look_at, held) SELECT * FROM unnest(:order_ids::uuid[], :look_ats::timestamptz[], :held::boolean[])
ON CONFLICT (order_id) DO UPDATE SET look_at = EXCLUDED.look_at, held = EXCLUDED.held;

-- name: done!
-- These orders need not be looked at again.
DELETE FROM personal_data_later WHERE order_id = ANY (:order_ids::uuid[]);

-- name: held$
-- How many orders keep their data beyond the retention.
SELECT count(*) FROM personal_data_later WHERE held;

-- name: decided_letters
-- Letters about orders that were decided long ago, in the sequence of their ids.
SELECT id FROM dead_letter
WHERE id > :after AND status IN ('RESOLVED', 'PUBLISHED', 'DISCARDED', 'SUPERSEDED') AND decided_at < :before AND erased_at IS NULL
  AND topic <> ALL (:not_about_orders::text[])
ORDER BY id LIMIT :rows_max FOR UPDATE;
