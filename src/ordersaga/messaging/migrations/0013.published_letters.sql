-- A partner's letter that is on its topic again is PUBLISHED: whether its service has handled the record, only the partner knows. RESOLVED is
-- said of records of ours alone.
ALTER TABLE dead_letter DROP CONSTRAINT dead_letter_status_check;
ALTER TABLE dead_letter ADD CONSTRAINT dead_letter_status_check
    CHECK (status IN ('OPEN', 'REPLAYED', 'RESOLVED', 'PUBLISHED', 'DISCARDED', 'SUPERSEDED'));
UPDATE dead_letter SET status = 'PUBLISHED' WHERE status = 'RESOLVED' AND imported_from IS NOT NULL;
DROP INDEX dead_letter_decided_idx;
CREATE INDEX dead_letter_decided_idx ON dead_letter (decided_at) WHERE status IN ('RESOLVED', 'PUBLISHED', 'DISCARDED', 'SUPERSEDED');
