-- Activities that are not a worker's for a while. See the migration for PostgreSQL for the why.
--
-- Everything here only adds: workers of the release before go on beside it.

ALTER TABLE activity_tasks ADD COLUMN outside_since INTEGER;
