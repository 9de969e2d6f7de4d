-- The trace of the request that placed an order, in which its deadlines go on. NULL: the trace that is called like the order's id.
ALTER TABLE orders ADD COLUMN traceparent text;
