-- Until when another consumer group handled a partition that this service took over with ORDERSAGA_START_AT. The audit does not expect rows
-- about what was asked before. `name`: the setting's value.
CREATE TABLE predecessor (
    topic         text        NOT NULL,
    partition     int         NOT NULL,
    name          text        NOT NULL,
    handled_until timestamptz NOT NULL,
    PRIMARY KEY (topic, partition)
);
