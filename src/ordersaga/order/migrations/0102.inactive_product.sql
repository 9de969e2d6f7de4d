-- Whether Stock still sells the product. A new order for one that it does not sell is refused.
ALTER TABLE price ADD COLUMN active boolean NOT NULL DEFAULT true;
