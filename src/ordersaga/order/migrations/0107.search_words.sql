-- What operators and customers search an order by: the words of its name, folded, and its products. model.py makes them. Orders that a process
-- of the version before places during the upgrade are not found by these.
ALTER TABLE orders ADD COLUMN search_words text[];
