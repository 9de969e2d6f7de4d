CREATE TABLE product (
    product_id uuid PRIMARY KEY,
    name       text NOT NULL,
    price      int  NOT NULL,
    available  int  NOT NULL CHECK (available >= 0)
) WITH (fillfactor = 50);

CREATE TABLE reservation (
    order_id   uuid        NOT NULL,
    product_id uuid        NOT NULL,
    quantity   int         NOT NULL,
    status     text        NOT NULL CHECK (status IN ('SUCCESS', 'FAILED')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, product_id)
);
