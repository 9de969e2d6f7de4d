-- Calls over HTTP by name, as each process of the service counts them: how many there were, and how many had no answer yet when it told.
-- The owner '' has the counts of processes that have ended.
CREATE TABLE call_count (
    name        text        NOT NULL,
    owner       text        NOT NULL,
    total       bigint      NOT NULL,
    in_hand     int         NOT NULL,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (name, owner)
) WITH (fillfactor = 50);
