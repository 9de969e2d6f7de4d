-- An order may have thousands of dead letters, most of them for one cause: its latest letters, and the latest of each topic and cause, are
-- found without reading the others.
CREATE INDEX dead_letter_order_at_idx ON dead_letter (order_key, at);
CREATE INDEX dead_letter_order_cause_idx ON dead_letter (order_key, topic, cause, at, id);
DROP INDEX dead_letter_order_idx;
