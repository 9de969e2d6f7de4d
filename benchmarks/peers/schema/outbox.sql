-- Each service's outbox. The sequence steps by 50, since Hibernate takes its numbers in blocks of 50.
CREATE SEQUENCE outbox_seq INCREMENT BY 50;
CREATE TABLE outbox (
    id         bigint      PRIMARY KEY DEFAULT nextval('outbox_seq'),
    topic      text        NOT NULL,
    record_key text        NOT NULL,
    value      text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
