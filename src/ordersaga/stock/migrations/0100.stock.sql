-- Products and their stock in pieces. Each batch updates its products, and no updated column has an index, so the updates are HOT.
-- `available` is generated, so it cannot disagree with the counters. A batch that would reserve more pieces than there are fails.
CREATE TABLE product (
    product_id uuid   PRIMARY KEY,
    name       text   NOT NULL,
    price      int    NOT NULL CHECK (price >= 0),
    received   bigint NOT NULL DEFAULT 0,
    reserved   bigint NOT NULL DEFAULT 0,
    released   bigint NOT NULL DEFAULT 0,
    available  bigint GENERATED ALWAYS AS (received - reserved + released) STORED CHECK (available >= 0)
) WITH (fillfactor = 50);

-- What Stock decided for each order. `items` is [{productId, quantity, state, message?}]. A repeated request is answered from this row.
CREATE TABLE reservation (
    order_id uuid        PRIMARY KEY,
    state    text        NOT NULL CHECK (state IN ('RESERVED', 'RELEASED', 'REFUSED', 'OVERTAKEN')),
    items    json       NOT NULL,
    at       timestamptz NOT NULL
);

-- One row for each movement of pieces. The sums of a product's movements are its counters. Rows are only inserted, except that pruning
-- replaces the old movements of a product and kind by one balance row.
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
