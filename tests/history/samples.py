"""One event of each kind, with every field that can be set, set to something that is not its default."""

from __future__ import annotations

from durable.history import (
    ActivityFailure,
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    ApplicationFailure,
    CanceledFailure,
    ChildWorkflowFailure,
    EventData,
    Failure,
    Payload,
    RetryPolicyData,
    TerminatedFailure,
    TimeoutFailure,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)

ODD = Payload(b"\x00\xff", "binary/plain", {"kind": b"odd", "\u00e9": b"\x80"})
PLAIN = Payload(b'{"z": 1e16, "a": -0.0}')
POLICY = RetryPolicyData(250_000, 1.5, 60_000_000, 7, ("ValueError", "TemporalTimeout:StartToClose"))
FAILURE = Failure(
    "outer \u2028",
    "Traceback ...",
    ActivityFailure("charge", "7", "maximum_attempts_reached", "4711@host"),
    Failure(
        "child",
        "",
        ChildWorkflowFailure("w", "r", "checkout", "timeout"),
        Failure(
            "late",
            "",
            TimeoutFailure("heartbeat", (PLAIN,)),
            Failure(
                "asked",
                "",
                CanceledFailure((ODD,)),
                Failure(
                    "ended",
                    "",
                    TerminatedFailure((ODD,)),
                    Failure(
                        "inner", "", ApplicationFailure("E", True, (PLAIN,), 5_000_000, "benign"), None, ODD
                    ),
                ),
            ),
        ),
    ),
)

FULL: tuple[EventData, ...] = (
    WorkflowExecutionStarted(
        message="m-0",
        flags=3,
        workflow_id="order-42",
        workflow_type="checkout",
        task_queue="default",
        input=(PLAIN, ODD),
        seed=2**63 - 1,
        execution_timeout=1,
        run_timeout=2,
        task_timeout=3,
        retry_policy=POLICY,
        attempt=2,
        first_run_id="r-1",
        memo={"b": PLAIN, "a": ODD},
        headers={"trace": ODD},
        identity="4711@host",
        static_summary="summary",
        static_details="details",
    ),
    WorkflowExecutionSignaled(
        message="m-1", flags=1, name="go", input=(PLAIN,), headers={"h": ODD}, identity="i"
    ),
    WorkflowExecutionCancelRequested(message="m-2", flags=1, reason="enough", identity="i"),
    WorkflowExecutionCompleted(id=9, result=PLAIN),
    WorkflowExecutionFailed(id=9, failure=FAILURE, retry_state="timeout"),
    WorkflowExecutionCanceled(id=9, details=(ODD,)),
    WorkflowExecutionTerminated(message="m", flags=1, reason="why", details=(PLAIN,), identity="i"),
    WorkflowExecutionTimedOut(message="m", flags=1, timeout_type="execution"),
    ActivityTaskScheduled(
        id=1,
        activity_id="one",
        activity_type="charge",
        task_queue="q",
        input=(PLAIN,),
        schedule_to_close=4,
        schedule_to_start=3,
        start_to_close=2,
        heartbeat=1,
        retry_policy=POLICY,
        cancellation_type="abandon",
        eager=False,
        headers={"h": ODD},
        summary="s",
    ),
    ActivityTaskCancelRequested(id=1),
    ActivityTaskCompleted(message="activity:1", flags=1, id=1, attempt=3, identity="i", result=ODD),
    ActivityTaskFailed(
        id=1, attempt=3, identity="i", failure=FAILURE, retry_state="maximum_attempts_reached"
    ),
    ActivityTaskTimedOut(
        id=1,
        attempt=3,
        identity="i",
        failure=Failure("late", info=TimeoutFailure("schedule_to_close")),
        retry_state="timeout",
    ),
    ActivityTaskCanceled(id=1, attempt=3, identity="i", details=(PLAIN,)),
    TimerStarted(id=2, duration=86_400_000_000, summary="a day"),
    TimerCanceled(id=2),
    TimerFired(message="m", flags=1, id=2),
)
