-- The order that an act is about, so that an order's trail is one look-up: what happened to its letters and parked records, too.
ALTER TABLE operator_act ADD COLUMN order_key uuid;
UPDATE operator_act a SET order_key = d.order_key FROM dead_letter d
WHERE d.order_key IS NOT NULL AND a.target IN (d.id::text, d.topic || '/' || d.partition || '/' || d.record_offset);
UPDATE operator_act SET order_key = target::uuid
WHERE what IN ('cancel', 'return', 'request return', 'accept refund', 'receive return', 'refuse return');
CREATE INDEX operator_act_order_idx ON operator_act (order_key, id) WHERE order_key IS NOT NULL;

-- A job whose work failed is postponed. `tries`: how often in succession; `problem`: the last error.
ALTER TABLE operator_job ADD COLUMN tries int NOT NULL DEFAULT 0, ADD COLUMN problem text;
