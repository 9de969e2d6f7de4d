-- name: bound_statements
-- Limit how long a statement of this transaction may take, and how long it may wait for a lock.
SELECT set_config('statement_timeout', :statement_ms, true), set_config('lock_timeout', :lock_ms, true);

-- name: postpone_parked!
-- Let a parked record wait longer, without counting an attempt.
UPDATE parked SET due_at = :due_at WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset;
