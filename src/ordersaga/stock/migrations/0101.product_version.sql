-- Rises with each change of name or price. Order keeps the price with the highest version, whatever the clocks say.
ALTER TABLE product ADD COLUMN version bigint NOT NULL DEFAULT 0;
