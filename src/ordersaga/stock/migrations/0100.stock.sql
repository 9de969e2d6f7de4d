-- Products and their stock in pieces. Changed in place (HOT) by each batch, so no changing column has an index.
-- `available` is computed, so it cannot disagree with the counters; a batch that would take more than there is fails.
CREATE TABLE product (
    product_id uuid   PRIMARY KEY,
    name       text   NOT NULL,
    price      int    NOT NULL CHECK (price >= 0),
    received   bigint NOT NULL DEFAULT 0,
    reserved   bigint NOT NULL DEFAULT 0,
    released   bigint NOT NULL DEFAULT 0,
    available  bigint GENERATED ALWAYS AS (received - reserved + released) STORED CHECK (available >= 0)
) WITH (fillfactor = 50);

-- What was decided for each order: [{productId, quantity, state, message?}]; repeats of a request are answered from it.
CREATE TABLE reservation (
    order_id uuid        PRIMARY KEY,
    state    text        NOT NULL CHECK (state IN ('RESERVED', 'RELEASED', 'REFUSED', 'OVERTAKEN')),
    items    json       NOT NULL,
    at       timestamptz NOT NULL
);

-- The stock ledger: one row per movement; per product their sums are the product's counters. Only ever appended to, but that old
-- movements of a product are summed up in one balance row of their kind.
CREATE TABLE movement (
    product_id uuid        NOT NULL,
    order_id   uuid,
    kind       text        NOT NULL CHECK (kind IN ('received', 'reserved', 'released')),
    quantity   bigint      NOT NULL CHECK (quantity > 0),
    at         timestamptz NOT NULL,
    is_balance boolean     NOT NULL DEFAULT false,
    CHECK ((kind = 'received') = (order_id IS NULL) OR is_balance)
);
CREATE INDEX movement_at_idx ON movement USING brin (at);
CREATE UNIQUE INDEX movement_balance_idx ON movement (product_id, kind) WHERE is_balance;
