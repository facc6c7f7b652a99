"""When something is to happen: which instants calendars, intervals and cron expressions mean (`_times`). Pure.

`ticks` is Temporal's older form of it, the cron schedule of a workflow.
"""
