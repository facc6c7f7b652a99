-- Activities that are not a worker's for a while, and what operators do to activities.
--
-- Everything here only adds. One that somebody outside is to end, or that is paused, is queued, so that nothing takes it
-- for lost, and due so late that nobody claims it; workers of the release before know no more of it than that.

-- When the attempt began that somebody outside is to end.
alter table durable.activity_tasks add column outside_since bigint;

-- Attempts are counted from `attempt_base` for people; `attempt` itself never falls, since it is the fence. `anew` tells
-- that the count begins again behind the attempt which runs. `revision` goes up with each change by operators.
alter table durable.activity_tasks
    add column paused_at bigint,
    add column pause_reason text not null default '',
    add column cancel_reason text not null default '',
    add column attempt_base integer not null default 0,
    add column anew smallint not null default 0 check (anew between 0 and 2),
    add column revision integer not null default 0;
