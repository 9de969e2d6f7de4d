-- Payment's tables. Amounts are won.

-- Order's word on who may pay how much until when: a copy of order-payable-topic.
CREATE TABLE payable (
    order_id     uuid        PRIMARY KEY,
    customer_id  uuid        NOT NULL,
    total_amount int         NOT NULL,
    pay_before   timestamptz NOT NULL,
    status       text        NOT NULL
);

-- One row for each payment key. `captured` and `refunded` are the gateway's figures; it holds `captured - refunded`.
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
-- An order has one open or captured payment, also when two requests confirm at the same moment.
CREATE UNIQUE INDEX payment_order_once_idx ON payment (order_id)
    WHERE status IN ('PENDING', 'APPROVED', 'CANCEL_PENDING', 'PARTLY_CANCELLED');
CREATE INDEX payment_order_idx ON payment (order_id);

-- A confirm, refund or look-up at the gateway: committed before its first call, settled in one transaction with its outcome.
-- OPEN and `due_at` passed: recovery takes the intent up and sets `due_at` to the end of its lease. OPEN and null: a refund that waits
-- for the payment's confirm. `attempt` is part of the gateway's idempotency key; `tries` counts how often the intent was postponed.
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
-- A refund request has no id: the same payment key and amount is the same refund.
CREATE UNIQUE INDEX intent_refund_once_idx ON intent (payment_key, amount) WHERE kind = 'REFUND';
CREATE UNIQUE INDEX intent_look_once_idx ON intent (payment_key) WHERE kind = 'LOOK' AND status = 'OPEN';
