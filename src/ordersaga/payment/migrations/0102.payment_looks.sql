-- Webhooks, which are unsigned, ask for look-ups. Look-ups are taken up after confirms and refunds, and are counted and pruned apart from
-- them, so they have indexes of their own.
DROP INDEX intent_due_idx;
CREATE INDEX intent_due_idx ON intent (due_at) WHERE status = 'OPEN' AND kind <> 'LOOK';
CREATE INDEX intent_look_due_idx ON intent (due_at) WHERE status = 'OPEN' AND kind = 'LOOK';
CREATE INDEX intent_look_created_idx ON intent (created_at) WHERE kind = 'LOOK';
CREATE INDEX intent_look_order_idx ON intent (order_id) WHERE kind = 'LOOK';
