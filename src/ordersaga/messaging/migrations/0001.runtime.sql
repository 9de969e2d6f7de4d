-- The runtime's own tables, the same in each service's database.

-- Where each input partition is. `epoch` rises whenever somebody takes the partition; only its holder may move `next_offset`.
CREATE TABLE ledger (
    topic       text   NOT NULL,
    partition   int    NOT NULL,
    topic_id    text   NOT NULL,
    epoch       bigint NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- Records that are committed and that Kafka has not acknowledged yet. `source_*` is the input partition of the record that caused the row,
-- in its turn or in a retry of a parked record. It is null for HTTP, timers and dead letters that are published again: any instance publishes
-- such rows once `adopt_at` has passed. Rows are short-lived and deleted by id. The rows of turns have no other index, since taking
-- partitions reads the whole table.
CREATE TABLE outbox (
    id               bigint      PRIMARY KEY,
    source_topic     text,
    source_partition int,
    adopt_at         timestamptz NOT NULL,
    topic            text        NOT NULL,
    partition        int,
    key              bytea,
    value            bytea,
    message_id       uuid        NOT NULL,
    causation_id     text,
    traceparent      text        NOT NULL,
    header_names     text[],
    header_values    bytea[]
);
CREATE INDEX outbox_adopt_idx ON outbox (adopt_at) WHERE source_topic IS NULL;

-- A transaction takes one value and numbers its rows from there, so one call serves a whole turn.
CREATE SEQUENCE outbox_block INCREMENT BY 1000000 CACHE 1;

-- Every record that could not be handled, or that the broker refused for good (no offset), or that a partner gave up (imported).
-- SUPERSEDED: another letter of the same record `follows` this one, since its replay failed again or since it was edited.
CREATE TABLE dead_letter (
    id               uuid        PRIMARY KEY,
    status           text        NOT NULL DEFAULT 'OPEN'
                                 CHECK (status IN ('OPEN', 'REPLAYED', 'RESOLVED', 'DISCARDED', 'SUPERSEDED')),
    topic            text        NOT NULL,
    partition        int,
    record_offset    bigint,
    order_key        uuid,
    key              bytea,
    value            bytea,
    header_names     text[]      NOT NULL,
    header_values    bytea[]     NOT NULL,
    timestamp_ms     bigint,
    cause            text        NOT NULL,
    reason           text        NOT NULL,
    stacktrace       text,
    attempts         int         NOT NULL,
    at               timestamptz NOT NULL,
    follows          uuid,
    replayed_as      uuid,
    imported_from    text,
    consumer_group   text
);
CREATE INDEX dead_letter_topic_idx ON dead_letter (topic, at);
CREATE INDEX dead_letter_order_idx ON dead_letter (order_key);
CREATE INDEX dead_letter_place_idx ON dead_letter (topic, partition, record_offset);
CREATE INDEX dead_letter_follows_idx ON dead_letter (follows) WHERE follows IS NOT NULL;
CREATE INDEX dead_letter_replayed_idx ON dead_letter (replayed_as) WHERE replayed_as IS NOT NULL;

-- What operators did: one row per act, written in the act's own transaction. `target` is a letter's id, or topic/partition/offset.
CREATE TABLE operator_act (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    who      text        NOT NULL,
    what     text        NOT NULL,
    target   text        NOT NULL,
    why      text        NOT NULL,
    "before" jsonb       NOT NULL,
    "after"  jsonb       NOT NULL
);
CREATE INDEX operator_act_target_idx ON operator_act (target, id);

-- Idempotency-Key of HTTP writes: which resource the first use made.
CREATE TABLE idempotency_key (
    scope     text        NOT NULL,
    key       text        NOT NULL,
    body_hash bytea       NOT NULL,
    resource  uuid        NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (scope, key)
);

-- Records whose handling failed, and, behind them, later ones of the same topic, partition and key, which wait so that key order
-- holds. The first of a queue has `due_at`; the others get it when their turn comes.
CREATE TABLE parked (
    topic         text        NOT NULL,
    partition     int         NOT NULL,
    record_offset bigint      NOT NULL,
    order_key     uuid        NOT NULL,
    key           bytea,
    value         bytea,
    header_names  text[]      NOT NULL,
    header_values bytea[]     NOT NULL,
    timestamp_ms  bigint      NOT NULL,
    attempts      int         NOT NULL,
    attempts_before int       NOT NULL DEFAULT 0,
    due_at        timestamptz,
    cause         text,
    reason        text,
    parked_at     timestamptz NOT NULL,
    PRIMARY KEY (topic, partition, record_offset)
);
CREATE INDEX parked_due_idx ON parked (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX parked_queue_idx ON parked (topic, partition, order_key, record_offset);

-- When something is to be looked at again, by business key.
CREATE TABLE timer (
    key    uuid        PRIMARY KEY,
    due_at timestamptz NOT NULL
);
CREATE INDEX timer_due_idx ON timer (due_at);
