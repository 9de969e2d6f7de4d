-- Payment's tables. Money is won.

-- Order's word on who may pay how much until when: our copy of order-payable-topic.
CREATE TABLE payable (
    order_id     uuid        PRIMARY KEY,
    customer_id  uuid        NOT NULL,
    total_amount int         NOT NULL,
    pay_before   timestamptz NOT NULL,
    status       text        NOT NULL
);

-- One row per payment key. `captured` and `refunded` are what the gateway has said; `captured - refunded` is held.
CREATE TABLE payment (
    payment_key  text        PRIMARY KEY,
    order_id     uuid        NOT NULL,
    customer_id  uuid,
    amount       int         NOT NULL,
    status       text        NOT NULL
                 CHECK (status IN ('PENDING', 'APPROVED', 'FAILED', 'CANCEL_PENDING', 'CANCELLED', 'PARTLY_CANCELLED')),
    captured     bigint      NOT NULL CHECK (captured >= 0),
    refunded     bigint      NOT NULL CHECK (refunded BETWEEN 0 AND captured),
    code         text,
    message      text,
    requested_at timestamptz NOT NULL,
    approved_at  timestamptz,
    CHECK (status <> 'APPROVED' OR (captured = amount AND refunded = 0)),
    CHECK (status <> 'PENDING' OR captured = 0)
);
-- One open or captured payment per order, whatever two requests do at the same moment.
CREATE UNIQUE INDEX payment_order_once_idx ON payment (order_id)
    WHERE status IN ('PENDING', 'APPROVED', 'CANCEL_PENDING', 'PARTLY_CANCELLED');
CREATE INDEX payment_order_idx ON payment (order_id);

-- What we are about to do, or did, at the gateway: committed before the first call, settled in one transaction with its outcome.
-- While it is OPEN, whoever finds `due_at` passed takes it up and moves `due_at` on; null waits for the payment's confirm.
-- `attempt` is part of the idempotency key that the gateway gets; `tries` counts the times nothing was learned.
CREATE TABLE intent (
    id          uuid        PRIMARY KEY,
    kind        text        NOT NULL CHECK (kind IN ('CONFIRM', 'REFUND', 'LOOK')),
    payment_key text        NOT NULL,
    order_id    uuid        NOT NULL,
    amount      bigint      NOT NULL,
    reason      text        NOT NULL,
    asked       boolean     NOT NULL,
    status      text        NOT NULL CHECK (status IN ('OPEN', 'DONE', 'FAILED')),
    attempt     int         NOT NULL,
    tries       int         NOT NULL,
    due_at      timestamptz,
    message     text,
    created_at  timestamptz NOT NULL
);
CREATE INDEX intent_due_idx ON intent (due_at) WHERE status = 'OPEN';
CREATE INDEX intent_payment_idx ON intent (payment_key);
-- A request to refund says no id: the same payment key and amount is the same refund.
CREATE UNIQUE INDEX intent_refund_once_idx ON intent (payment_key, amount) WHERE kind = 'REFUND';
CREATE UNIQUE INDEX intent_look_once_idx ON intent (payment_key) WHERE kind = 'LOOK' AND status = 'OPEN';
