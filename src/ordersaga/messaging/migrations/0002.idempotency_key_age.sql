-- Keys are forgotten by their age, once a minute: without this all of them are read to find that none is old enough.
CREATE INDEX idempotency_key_at_idx ON idempotency_key USING brin (at);
