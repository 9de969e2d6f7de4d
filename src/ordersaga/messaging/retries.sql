-- name: bound_statements
-- How long a statement of this transaction may take, and wait for a lock.
SELECT set_config('statement_timeout', :statement_ms, true), set_config('lock_timeout', :lock_ms, true);

-- name: postpone_parked!
-- Let a parked record wait longer, without counting that as a try.
UPDATE parked SET due_at = :due_at WHERE topic = :topic AND partition = :partition AND record_offset = :record_offset;
