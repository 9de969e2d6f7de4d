-- The trace in which a confirm or refund was asked for. Its calls to the gateway and what is told of them go on in this trace, also in a
-- process that takes the intent up later. NULL: it was asked for outside of a trace.
ALTER TABLE intent ADD COLUMN traceparent text;
