-- When personal data was erased from a dead letter: its record on the dead letter topic has another value since. Null: it was not.
ALTER TABLE dead_letter ADD COLUMN erased_at timestamptz;
