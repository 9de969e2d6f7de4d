-- Searches of operators: letters by status and by cause, acts by who did them. A cause is searched by its end, since Java's has its package before it.
CREATE INDEX dead_letter_status_idx ON dead_letter (status, at, id);
CREATE INDEX dead_letter_cause_idx ON dead_letter (reverse(lower(cause)) text_pattern_ops, at);
CREATE INDEX operator_act_who_idx ON operator_act (who, id);

-- A job marks each of its letters by the letter's id.
CREATE INDEX operator_job_item_letter_idx ON operator_job_item (job_id, letter_id);
