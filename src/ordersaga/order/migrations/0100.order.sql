-- Orders as they were placed. Rows are never updated.
CREATE TABLE orders (
    order_id       uuid        PRIMARY KEY,
    customer_id    uuid        NOT NULL,
    order_name     text        NOT NULL,
    total_amount   int         NOT NULL,
    recipient      json       NOT NULL,
    placed_at      timestamptz NOT NULL,
    pay_before     timestamptz NOT NULL
);
CREATE INDEX orders_customer_idx ON orders (customer_id, order_id);

-- The state of each order. No updated column has an index, so the updates are HOT.
CREATE TABLE saga (
    order_id uuid  PRIMARY KEY,
    status   text  NOT NULL,
    reason   text,
    detail   text,
    facts    json NOT NULL
) WITH (fillfactor = 60);

-- The timelines: one row for each decision about an order. No personal data.
CREATE TABLE order_event (
    order_id    uuid        NOT NULL,
    seq         bigint      GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    came_in     text        NOT NULL,
    went_out    text[]      NOT NULL,
    status      text        NOT NULL,
    reason      text,
    stock_known boolean     NOT NULL,
    note        text,
    PRIMARY KEY (order_id, seq)
);
CREATE INDEX order_event_at_idx ON order_event USING brin (at);

-- Order's copy of the product prices, from Stock's records.
CREATE TABLE price (
    product_id uuid PRIMARY KEY,
    name       text,
    price      int  NOT NULL,
    changed_at timestamptz NOT NULL
);
