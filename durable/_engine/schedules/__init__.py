"""Schedules: which instants a spec means (`_times`), and what is done about them (`_decide`). Pure.

    SpecRecord --Timetable--> nominal instants --jitter--> due instants --decide--> starts, cancels, terminations

Time and what runs are arguments. A schedule's run at a nominal instant has an id made of the two, so that deciding twice
starts nothing twice.
"""
