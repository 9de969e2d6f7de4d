-- Stock's number of a price, of which the highest counts. 0: of a Stock that numbers none, whose `changed_at` counts.
ALTER TABLE price ADD COLUMN version bigint NOT NULL DEFAULT 0;
