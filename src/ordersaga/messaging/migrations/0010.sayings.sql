-- The sentences of a text as codes with their values, in JSON, by which a page says the same in another language. Null: the text has none.
ALTER TABLE dead_letter ADD COLUMN said text;
ALTER TABLE parked ADD COLUMN said text;
ALTER TABLE partition_report ADD COLUMN problem_said text, ADD COLUMN todo_said text;
ALTER TABLE operator_job_item ADD COLUMN said text;
