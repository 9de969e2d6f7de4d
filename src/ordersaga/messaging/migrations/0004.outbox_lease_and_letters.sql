-- Until when an instance has a row that it adopted. `adopt_at` stays as written, so that it tells the row's age.
ALTER TABLE outbox ADD COLUMN leased_until timestamptz;

-- `decided_at`: when `status` changed last, from which a letter's retention counts. `unpublished`: why Kafka has refused the letter's
-- record on the dead letter topic; the letter is only here until that topic takes it.
ALTER TABLE dead_letter ADD COLUMN decided_at timestamptz, ADD COLUMN unpublished text;
UPDATE dead_letter SET decided_at = now() WHERE status <> 'OPEN';
CREATE INDEX dead_letter_decided_idx ON dead_letter (decided_at) WHERE status IN ('RESOLVED', 'DISCARDED', 'SUPERSEDED');
CREATE INDEX dead_letter_open_idx ON dead_letter (topic, cause) WHERE status = 'OPEN';
CREATE INDEX dead_letter_unpublished_idx ON dead_letter (topic) WHERE unpublished IS NOT NULL;
