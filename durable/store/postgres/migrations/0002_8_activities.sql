-- Activities that are not a worker's for a while.
--
-- Everything here only adds. Such an activity is queued, so that nothing takes it for lost, and due so late that nobody
-- claims it; workers of the release before know no more of it than that.

-- When the attempt began that somebody outside is to end.
alter table durable.activity_tasks add column outside_since bigint;
