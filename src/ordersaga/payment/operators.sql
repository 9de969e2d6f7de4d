-- name: open_intents_of_order
-- The open confirms and refunds of an order's payments, the oldest first.
SELECT i.id, i.kind, i.payment_key, i.order_id, i.amount, i.created_at, i.due_at, i.tries, i.message
FROM payment p JOIN intent i USING (payment_key)
WHERE p.order_id = :order_id AND i.status = 'OPEN' AND i.kind <> 'LOOK' ORDER BY i.created_at, i.id;

-- name: lock_open_intent^
-- An open confirm or refund, its row locked.
SELECT id, kind, payment_key, order_id, amount, created_at, due_at, tries, message
FROM intent WHERE id = :id AND status = 'OPEN' AND kind <> 'LOOK' FOR UPDATE;

-- name: make_intent_due!
-- Make an open intent due now.
UPDATE intent SET due_at = :now WHERE id = :id;
