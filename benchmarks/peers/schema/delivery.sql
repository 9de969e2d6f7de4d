CREATE TABLE delivery (
    delivery_id     uuid        PRIMARY KEY,
    order_id        uuid        NOT NULL UNIQUE,
    customer_id     uuid        NOT NULL,
    status          text        NOT NULL CHECK (status IN ('STARTED', 'FAILED')),
    tracking_number text        NOT NULL,
    address         text,
    address_detail  text,
    zipcode         text,
    phone           text,
    name            text,
    delivery_memo   text,
    created_at      timestamptz NOT NULL
);
