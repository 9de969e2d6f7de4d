-- The bulk job that has carried out an act: the trail has one line for a job, which opens. Acts from before this have none.
ALTER TABLE operator_act ADD COLUMN job_id uuid;
