-- How far each partition of each topic was, beside the sums of the topics. Moments from before this have none.
ALTER TABLE flow_moment ADD COLUMN partitions jsonb;
