-- One delivery per order, inserted once and never updated. STARTED has a tracking number, FAILED has the carrier's reason.
CREATE TABLE delivery (
    order_id        uuid        PRIMARY KEY,
    delivery_id     uuid        NOT NULL UNIQUE,
    customer_id     uuid        NOT NULL,
    status          text        NOT NULL CHECK (status IN ('STARTED', 'FAILED')),
    tracking_number text,
    refusal         text,
    address         text,
    address_detail  text,
    zipcode         text,
    phone           text,
    name            text,
    delivery_memo   text,
    at              timestamptz NOT NULL,
    CHECK ((status = 'STARTED') = (tracking_number IS NOT NULL)),
    CHECK ((status = 'FAILED') = (refusal IS NOT NULL))
);
