"""Why a name, a member or a parameter of Temporal's Python SDK is not here: patterns, with a status and a reason each.

`in progress` is being built; `not yet` is meant to come; `left out` is not. The first pattern that fits counts.
"""

from __future__ import annotations

PROGRESS, LATER, OUT = "in progress", "not yet", "left out"

_NO_SERVER = "there is no server and no RPC between a client and its database"
_NEXUS = "Nexus joins namespaces of a server"
_VERSIONS = (
    "superseded by deployment versioning, in Temporal as well: deployment_config=WorkerDeploymentConfig(...)"
)
_OPERATED = "comes with what operators do"
_CONVERTED = "codecs, contexts and further converters are being built"
_TUNED = "comes with tuning of workers"
_BATCHES = "one look at the database brings a batch, so there are no pollers to tune"
_PLUGINS = "what bundles interceptors, converters and definitions comes later"
_SUPERSEDED = "superseded by deployment versioning, in Temporal as well"
_UNTYPED = "the untyped form, which Temporal has deprecated"
_JSON = "JSON is read and written by msgspec; an EncodingPayloadConverter of one's own is the way"

GAPS: dict[str, tuple[str, str]] = {
    # ---- of the ground it stands on
    "*Nexus*": (OUT, _NEXUS),
    "*nexus*": (OUT, _NEXUS),
    "*rpc_*": (OUT, _NO_SERVER),
    "*RPC*": (OUT, _NO_SERVER),
    "client.*Config": (OUT, _NO_SERVER),
    "client.GrpcCompression": (OUT, _NO_SERVER),
    "client.ServiceClient": (OUT, _NO_SERVER),
    "client.CloudOperationsClient": (OUT, _NO_SERVER),
    "client.Client.*service*": (OUT, _NO_SERVER),
    "client.Client*(service_client)": (OUT, _NO_SERVER),
    "client.Client.connect(target_host)": (OUT, "the database's URL is in its place"),
    "client.Client.connect(plugins)": (LATER, _PLUGINS),
    "client.Client.connect(payload_limits)": (
        OUT,
        "the limits of sizes are fixed; docs/values.md names them",
    ),
    "client.Client.connect(*)": (OUT, _NO_SERVER),
    "client.Client.api_key": (OUT, _NO_SERVER),
    "client.Client.*worker_*": (OUT, "superseded by deployment versioning, in Temporal as well"),
    "client.*BuildId*": (OUT, "superseded by deployment versioning, in Temporal as well"),
    "client.*Reachability*": (OUT, "superseded by deployment versioning, in Temporal as well"),
    "client.OutboundInterceptor.*worker_*": (
        OUT,
        "superseded by deployment versioning, in Temporal as well",
    ),
    "client.FetchWorkflowHistoryEventsInput.skip_archival": (OUT, _NO_SERVER),
    "client.StartWorkflowUpdateInput.callbacks": (OUT, _NEXUS),
    "client.StartWorkflowUpdateInput.links": (OUT, _NEXUS),
    "client.StartWorkflowUpdateInput.request_id": (OUT, "an update's id is what makes it one and the same"),
    "worker.*Input.versioning_intent": (OUT, _VERSIONS),
    "client.*(request_eager_start)": (OUT, "a start beside a worker is eager by itself"),
    "client.*(stack_level)": (OUT, "it is for warnings about deprecated options, of which there are none"),
    "client.*(skip_archival)": (OUT, _NO_SERVER),
    "client.WorkflowHistoryEventAsyncIterator(*)": (OUT, "a handle makes them"),
    "client.WorkflowHandle(*)": (OUT, "a client makes handles"),
    "client.*.raw_*": (OUT, "there is no message of a server behind it"),
    "exceptions.*failure": (OUT, "there is no message of a server behind it"),
    "exceptions.*(failure)": (OUT, "there is no message of a server behind it"),
    "exceptions.FailureError(exc_args)": (OUT, "it is for errors of the SDK's own"),
    "exceptions.*event_id*": (
        OUT,
        "commands have numbers of their own, and a failure does not carry events'",
    ),
    "exceptions.ServerError": (OUT, _NO_SERVER),
    "exceptions.TemporalError": (OUT, "its name is DurableError"),
    "common.RetryPolicy.*proto": (OUT, "there is no message of a server behind it"),
    "common.SearchAttribute*": (OUT, "the untyped form, which Temporal has deprecated"),
    # ---- the sandbox, which there is none of
    "workflow.SandboxImportNotificationPolicy": (OUT, "there is no sandbox"),
    "workflow.unsafe.*": (OUT, "there is no sandbox"),
    "workflow.extern_functions": (OUT, "there is no sandbox"),
    "workflow.LoggerAdapter.*": (OUT, "there is no sandbox, and no second logger"),
    "worker.*WorkflowRunner": (OUT, "there is no sandbox"),
    "worker.Worker(*workflow_runner)": (OUT, "there is no sandbox"),
    "worker.WorkflowInstance*": (OUT, "there is no sandbox"),
    "workflow.*versioning_intent*": (OUT, _SUPERSEDED),
    "workflow.Info.search_attributes": (OUT, _UNTYPED),
    "workflow.UpdateMethodMultiParam": (OUT, "it is the type of a decorator's result; ours is Update"),
    "workflow.Unfinished*HandlersWarning": (
        OUT,
        "the worker logs which handlers are unfinished, for it is no warning about the caller's code",
    ),
    "client.WorkflowUpdateHandle(*)": (OUT, "a client makes handles"),
    "client.*search_attributes*": (OUT, _UNTYPED),
    "client.WorkflowExecutionAsyncIterator(*)": (OUT, "a client makes lists"),
    "client.*header_codec_behavior*": (OUT, "headers are encoded by the codec, as all payloads are"),
    "client.HeaderCodecBehavior": (OUT, "headers are encoded by the codec, as all payloads are"),
    "common.HeaderCodecBehavior": (OUT, "headers are encoded by the codec, as all payloads are"),
    "client.*SerializationContext": (OUT, "it is in durable.converter, as in Temporal's own examples"),
    # ---- values
    "converter.AdvancedJSONEncoder": (OUT, _JSON),
    "converter.JSONPlainPayloadConverter(*coder)": (OUT, _JSON),
    "converter.*_wrapper": (OUT, "there is no message of a server that payloads are wrapped in"),
    "converter.*code_failure": (OUT, "a codec is given the payloads of a failure, wherever they stand in it"),
    "converter.*to_failure(failure)": (OUT, "a failure is what it returns, and not filled in"),
    "converter.*get_converters_with_context": (
        OUT,
        "`with_context` of a composite converter asks each of its parts",
    ),
    "converter.*ransfer*ype*": (
        LATER,
        "classes that write themselves as another type: an encoding of your own does it",
    ),
    "converter.create_payload_validation_error": (OUT, "a converter raises ConversionError"),
    # ---- built by others right now
    "workflow.signal_with_start_workflow": (OUT, _NEXUS),
    "workflow.VersioningIntent": (OUT, _VERSIONS),
    "workflow.*_activity_class": (OUT, "an activity is a function or a method"),
    "client.*_activity_class": (OUT, "an activity is a function or a method"),
    "client.ScheduleActionStartWorkflow(raw_info)": (OUT, "there is no message of a server behind it"),
    "client.ScheduleAsyncIterator(*)": (OUT, "a client makes lists"),
    "client.ScheduleHandle(*)": (OUT, "a client makes handles"),
    "client.ActivityExecutionAsyncIterator(*)": (OUT, "a client makes lists"),
    "client.ActivityHandle(*)": (OUT, "a client makes handles"),
    "client.AsyncActivityHandle(*)": (OUT, "a client makes handles"),
    "client.*(long_poll_token)": (OUT, "result() waits, and a description is of now"),
    "client.*.long_poll_token": (OUT, "result() waits, and a description is of now"),
    "client.ActivityExecution*.state_transition_count": (OUT, "an attempt adds nothing to the history"),
    "client.ActivityExecutionDescription.current_retry_interval": (
        OUT,
        "next_attempt_schedule_time tells when the next attempt is due",
    ),
    "client.ActivityExecutionDescription.eager_execution_requested": (
        OUT,
        "a worker claims it from the database, always",
    ),
    "client.ActivityExecutionDescription.last_*": (
        OUT,
        "worker, last_started_time and heartbeat_details are of the attempt under way; others leave only their failure",
    ),
    "activity.LoggerAdapter.base_logger": (OUT, "its name is `logger`, as in the standard library"),
    "activity.defn(dynamic)": (PROGRESS, "activities are being completed"),
    "converter.*earch_attribute*": (OUT, "search attributes are typed, and their converter is the store's"),
    "converter.*Storage*": (LATER, "external storage comes later"),
    "converter.*storage*": (LATER, "external storage comes later"),
    "converter.*Proto*": (OUT, "protobuf is no dependency; a payload converter can add it"),
    "client.StorageDriver*": (LATER, "external storage comes later"),
    "client.DataConverter": (OUT, "it is in durable.converter, as in Temporal's own examples"),
    # ---- later
    "*Plugin*": (LATER, _PLUGINS),
    "*(plugins)": (LATER, _PLUGINS),
    "client.Callback": (OUT, _NEXUS),
    "client.Client.config": (LATER, _PLUGINS),
    "worker.*Poller*": (OUT, _BATCHES),
    "worker.Worker(*poller_behavior)": (OUT, _BATCHES),
    "worker.Worker(max_concurrent_*_polls)": (OUT, _BATCHES),
    "worker.Worker(nonsticky_to_sticky_poll_ratio)": (OUT, _BATCHES),
    "worker.Worker(sticky_queue_schedule_to_start_timeout)": (OUT, "a lease says when a run is taken over"),
    "worker.Replayer*.*runner": (OUT, "there is no sandbox"),
    "worker.Replayer(*runner)": (OUT, "there is no sandbox"),
    "worker.Replayer*": (
        OUT,
        "a replay writes nothing, and runs on the calling thread; the error says it of each",
    ),
    "worker.WorkerConfig": (LATER, _PLUGINS),
    "worker.Worker.config": (LATER, _PLUGINS),
    "worker.Worker(*_executor)": (
        LATER,
        "workflow code runs on the event loop; threads of activities are as many as their slots",
    ),
    "worker.Worker(debug_mode)": (OUT, "code that is stepped through by a debugger may take its time anyway"),
    "worker.Worker(disable_safe_workflow_eviction)": (OUT, "eviction is always safe"),
    "worker.Worker(disable_payload_error_limit)": (
        OUT,
        "the limits of sizes are fixed; docs/values.md names them",
    ),
    "worker.Worker(max_workflow_task_external_storage_concurrency)": (LATER, "external storage comes later"),
    "worker.Worker.client(value)": (OUT, "a worker keeps its client; make another worker"),
    "worker.Worker(*)": (LATER, _TUNED),
    "testing.WorkflowEnvironment.start_*(*)": (OUT, "nothing is downloaded, and no server runs"),
    "testing.WorkflowEnvironment.connect_client": (
        OUT,
        "an environment has its database to itself: env.client, or start_time_skipping(data_converter=..., interceptors=...)",
    ),
}
