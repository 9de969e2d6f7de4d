CREATE TABLE orders (
    order_id        uuid        PRIMARY KEY,
    customer_id     uuid        NOT NULL,
    order_name      text        NOT NULL,
    total_amount    int         NOT NULL,
    address         text        NOT NULL,
    address_detail  text,
    zipcode         text        NOT NULL,
    phone           text        NOT NULL,
    name            text        NOT NULL,
    delivery_memo   text,
    status          text        NOT NULL CHECK (status IN ('PENDING', 'COMPLETED', 'CANCELLED', 'FAILED')),
    payment_key     text,
    delivery_status text        NOT NULL CHECK (delivery_status IN ('NOT_REQUESTED', 'REQUESTED', 'STARTED', 'FAILED')),
    delivery_id     uuid,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX orders_customer_idx ON orders (customer_id, order_id);

CREATE TABLE order_item (
    order_id     uuid NOT NULL REFERENCES orders,
    product_id   uuid NOT NULL,
    quantity     int  NOT NULL CHECK (quantity > 0),
    stock_status text NOT NULL CHECK (stock_status IN ('REQUESTED', 'RESERVED', 'REJECTED')),
    PRIMARY KEY (order_id, product_id)
) WITH (fillfactor = 60);
