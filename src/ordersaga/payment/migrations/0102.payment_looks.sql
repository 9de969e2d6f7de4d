-- Look-ups that webhooks asked for stand behind everything else that is to be done at the gateway, and are found, counted and pruned by
-- themselves: nobody signs a webhook.
DROP INDEX intent_due_idx;
CREATE INDEX intent_due_idx ON intent (due_at) WHERE status = 'OPEN' AND kind <> 'LOOK';
CREATE INDEX intent_look_due_idx ON intent (due_at) WHERE status = 'OPEN' AND kind = 'LOOK';
CREATE INDEX intent_look_created_idx ON intent (created_at) WHERE kind = 'LOOK';
CREATE INDEX intent_look_order_idx ON intent (order_id) WHERE kind = 'LOOK';
