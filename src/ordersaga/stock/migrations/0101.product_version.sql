-- Rises with each change of name or price, so that Order knows which of two prices is the later one, whatever the clocks say.
ALTER TABLE product ADD COLUMN version bigint NOT NULL DEFAULT 0;
