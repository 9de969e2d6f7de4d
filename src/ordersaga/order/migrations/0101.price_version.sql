-- Stock's version of the price; the highest wins. 0: from a Stock without versions, for which `changed_at` decides.
ALTER TABLE price ADD COLUMN version bigint NOT NULL DEFAULT 0;
