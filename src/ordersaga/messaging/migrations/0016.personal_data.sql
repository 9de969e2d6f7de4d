-- How far the retention of personal data has come: `last_id` is the last that it has looked at of a kind, and `at` when it has looked at all.
CREATE TABLE personal_data_position (
    kind    text PRIMARY KEY,
    last_id uuid NOT NULL,
    at      timestamptz
);

-- Orders whose data was not cleared when its time came. It is looked at again at `look_at`. `held`: it is older than the retention, and
-- the order goes on, or a record about it waits. Not held: something has happened to the order since.
CREATE TABLE personal_data_later (
    order_id uuid        PRIMARY KEY,
    look_at  timestamptz NOT NULL,
    held     boolean     NOT NULL
);
CREATE INDEX personal_data_later_idx ON personal_data_later (look_at);
