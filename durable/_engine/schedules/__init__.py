"""Schedules: what is done about the instants that a spec means (`_decide`; which ones, `_timetables` knows). Pure.

    SpecRecord --Timetable--> nominal instants --jitter--> due instants --decide--> starts, cancels, terminations

Time and what runs are arguments. A schedule's run at a nominal instant has an id made of the two, so that deciding twice
starts nothing twice.
"""
