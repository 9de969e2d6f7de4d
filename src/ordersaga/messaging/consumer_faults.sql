-- name: faults_in_force
-- The faults of the service's consumers.
SELECT faults, who, set_at FROM consumer_faults;

-- name: faults_in_force_locked
-- The same, locked: two operators set faults one after the other.
SELECT faults, who, set_at FROM consumer_faults FOR UPDATE;

-- name: put_faults$
-- Replace the faults. A later change always has a later time, whatever the clocks say.
UPDATE consumer_faults SET faults = :faults, who = :who, set_at = greatest(:now, set_at + interval '1 microsecond')
RETURNING set_at;
