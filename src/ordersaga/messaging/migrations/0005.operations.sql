-- Partitions that an operator has paused: whichever process takes one does not read it until the row is gone.
CREATE TABLE paused_partition (
    topic     text        NOT NULL,
    partition int         NOT NULL,
    who       text        NOT NULL,
    why       text        NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- What the owner of each partition last reported, a few times a minute. An old row means that no live process has the partition.
CREATE TABLE partition_report (
    topic       text        NOT NULL,
    partition   int         NOT NULL,
    owner       text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('READING', 'STOPPED')),
    problem     text,
    todo        text,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Bulk jobs of operators over a frozen selection of dead letters. `leased_by` is the process that works on the job until `leased_until`;
-- after that time any other process goes on.
CREATE TABLE operator_job (
    id                uuid        PRIMARY KEY,
    act               text        NOT NULL CHECK (act IN ('replay', 'discard')),
    dry_run           boolean     NOT NULL,
    who               text        NOT NULL,
    why               text        NOT NULL,
    letters_per_s     float8      NOT NULL,
    failures_max      int         NOT NULL,
    wait_s            float8      NOT NULL,
    type_id           text,
    created_at        timestamptz NOT NULL,
    ended_at          timestamptz,
    stop_who          text,
    stop_why          text,
    leased_by         uuid,
    leased_until      timestamptz
);
CREATE INDEX operator_job_open_idx ON operator_job (created_at) WHERE ended_at IS NULL;
CREATE INDEX operator_job_created_idx ON operator_job (created_at);

-- The letters of a job, in the order of their replay. `begun_at`: when the job began with the letter; `result` is null until it is known.
CREATE TABLE operator_job_item (
    job_id    uuid NOT NULL REFERENCES operator_job ON DELETE CASCADE,
    number    int  NOT NULL,
    letter_id uuid NOT NULL,
    begun_at  timestamptz,
    result    text,
    detail    text,
    PRIMARY KEY (job_id, number)
);

-- Lists over HTTP page by these.
CREATE INDEX dead_letter_at_idx ON dead_letter (at, id);
CREATE INDEX parked_order_idx ON parked (order_key);
