-- Faults of the consumers on purpose, for development: one row for the whole service, which each of its processes reads.
CREATE TABLE consumer_faults (
    only_one boolean     PRIMARY KEY DEFAULT true CHECK (only_one),
    faults   json        NOT NULL DEFAULT '{}',
    who      text        NOT NULL DEFAULT '',
    set_at   timestamptz NOT NULL DEFAULT 'epoch'
);
INSERT INTO consumer_faults DEFAULT VALUES;
