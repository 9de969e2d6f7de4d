-- How far a service was at a time, for rates and curves: of each topic how many records were handled and written and how many waited, of each
-- call how many there were. Any process of the service writes a row, and each of them answers from all rows.
CREATE TABLE flow_moment (
    at     timestamptz PRIMARY KEY,
    topics jsonb       NOT NULL,
    calls  jsonb       NOT NULL
);
