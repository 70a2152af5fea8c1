"""The fixed points of the public surface: every parameter with its default, every field, every base of an error.

`test_api.py` says that what is added is keyword-only; this says that nothing which is there moves or changes its default.
"""

import inspect

import attrs
import pytest

import actorflow
from actorflow import (
    EncryptedStorage,
    Executor,
    ExecutorFailure,
    InMemoryCheckpointStorage,
    RateLimit,
    RequestTimeout,
    RestartIntensity,
    Retry,
    Run,
    RunResult,
    SqliteCheckpointStorage,
    SubWorkflowRequest,
    SubWorkflowResponse,
    SupervisionPolicy,
    Upcaster,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowExecutor,
    errors,
    events,
)
from actorflow.storage import CheckpointStorage, StorageTools
from actorflow.testing import StorageConformance, crash_everywhere, rehydrate_everywhere, run_seeded, survive_chaos

RUN = "message=..., *, responses=None, checkpoint_id=None, checkpoint_storage=None, durability=None, config=None, wait=False"
STREAM = f"{RUN}, buffer=64, wait_for_responses=False"
LIST = "workflow_id=None, workflow_name=None, limit=None, before=None"

SIGNATURES = [
    (Executor, "id, *, policy=None, concurrency=1, rate_limit=None"),
    (actorflow.executor, "function=None, *, id=None, policy=None, concurrency=1, rate_limit=None"),
    (WorkflowExecutor, "workflow, id, *, propagate_requests=True, allow_direct_output=False, concurrency=1"),
    (SupervisionPolicy, "timeout=None, retry=None, on_failure='fail', restarts=RestartIntensity(max_restarts=1, period=5.0)"),
    (Retry, "attempts, delay=0, factor=2, max_delay=None, jitter=0, on=(<class 'Exception'>,)"),
    (RestartIntensity, "max_restarts=1, period=5.0"),
    (RateLimit, "limit, period"),
    (ExecutorFailure, "executor_id, error_type, error_message, message, attempts"),
    (RequestTimeout, "request_id, timeout"),
    (SubWorkflowRequest.respond, "self, value"),
    (Upcaster, "name, to=None, *, version=None, convert=None, replace=None, to_version=None"),
    (WorkflowContext.send_message, "self, message, target_id=None, *, delay=None"),
    (WorkflowContext.request_info, "self, data, response_type, *, request_id=None, timeout=None"),
    (WorkflowContext.get_state, "self, key, default=None"),
    (
        WorkflowBuilder,
        ("*, name, start_executor, description=None, max_supersteps=100, checkpoint_storage=None, output_from=None, "
         "intermediate_output_from=None, reducers=None, state_types=(), strict=False, checkpoint_failures='raise', "
         "policy=None, max_concurrency=None, cleanup_grace=5.0, upcasters=(), restores=()"),
    ),
    (WorkflowBuilder.add_edge, "self, source, target, condition=None"),
    (WorkflowBuilder.add_fan_out_edges, "self, source, targets"),
    (WorkflowBuilder.add_multi_selection_edge_group, "self, source, targets, selection_func"),
    (WorkflowBuilder.add_switch_case_edge_group, "self, source, cases"),
    (WorkflowBuilder.add_fan_in_edges, "self, sources, target, *, wait='all'"),
    (WorkflowBuilder.add_chain, "self, executors"),
    (WorkflowBuilder.build, "self, *, id=None"),
    (Workflow.run, f"self, {RUN}"),
    (Workflow.stream, f"self, {STREAM}"),
    (Workflow.start, f"self, {STREAM}, task_status=TASK_STATUS_IGNORED"),
    (CheckpointStorage.load, "self, checkpoint_id"),
    (CheckpointStorage.latest, "self, *, workflow_id"),
    (CheckpointStorage.list, f"self, {LIST}"),
    (CheckpointStorage.lineage, "self, checkpoint_id"),
    (CheckpointStorage.children, "self, checkpoint_id"),
    (CheckpointStorage.delete, "self, checkpoint_id"),
    (CheckpointStorage.prune, "self, *, workflow_id=None, keep_last=None, older_than=None"),
    (CheckpointStorage.save, "self, commit"),
    (CheckpointStorage.acquire_lease, "self, workflow_id, *, owner"),
    (StorageTools.history, "self, workflow_id"),
    (StorageTools.diff, "self, a, b, *, types=()"),
    (StorageTools.fork, "self, checkpoint_id, *, workflow_id, state=None, types=()"),
    (StorageTools.fsck, "self, *, workflow_id=None, check=None, deep=False"),
    (InMemoryCheckpointStorage, "*, lease_ttl=30.0, lease_renewal=None, max_payload=67108864"),
    (
        SqliteCheckpointStorage,
        "path, *, synchronous='full', busy_timeout=10.0, lease_ttl=30.0, lease_renewal=None, max_payload=67108864",
    ),
    (EncryptedStorage, "storage, *, keys, current"),
    (events.to_json, "event"),
    (events.from_json, "text, types=()"),
]  # fmt: skip

EVENTS = {
    "started": "",
    "status": "status",
    "superstep_started": "",
    "executor_invoked": "executor_id data attempt",
    "executor_completed": "executor_id sent outputs attempt",
    "executor_failed": "executor_id error attempt",
    "executor_retrying": "executor_id attempt delay error restarted voids",
    "message_dropped": "reason message source_id target_id",
    "output": "executor_id data attempt",
    "intermediate": "executor_id data attempt",
    "request_info": "executor_id request_id data response_type due",
    "checkpoint_saved": "checkpoint_id parent_id",
    "checkpoint_failed": "error",
    "superstep_completed": "",
    "warning": "message",
    "failed": "error",
    "unknown": "kind type_name fields",
}

ERRORS = {
    "WorkflowValidationError": ValueError,
    "WorkflowBusyError": RuntimeError,
    "LeaseHeldError": RuntimeError,
    "LeaseLostError": RuntimeError,
    "ConvergenceError": RuntimeError,
    "CheckpointError": RuntimeError,
    "CheckpointNotFoundError": LookupError,
    "GraphMismatchError": ValueError,
    "CodecError": ValueError,
    "EncryptionKeyError": LookupError,
    "EventFormatError": ValueError,
    "RequestNotFoundError": KeyError,
    "RequestIdError": ValueError,
    "ResponseTypeError": TypeError,
    "MessageTypeError": TypeError,
    "UndeliverableMessageError": LookupError,
    "ExecutorTimeoutError": TimeoutError,
    "ContextClosedError": RuntimeError,
    "RunEndedError": RuntimeError,
    "InternalError": RuntimeError,
}


def shown(function):
    """A signature without annotations."""
    found = inspect.signature(function)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()]
    return str(inspect.Signature(bare))[1:-1]


@pytest.mark.parametrize(("function", "expected"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", ""))
def test_parameters_and_defaults_stay(function, expected):
    assert shown(function).replace("Ellipsis", "...") == expected


@pytest.mark.parametrize("verb", [name for name in vars(CheckpointStorage) if not name.startswith("_")])
@pytest.mark.parametrize("storage", [InMemoryCheckpointStorage, SqliteCheckpointStorage, EncryptedStorage])
def test_every_storage_takes_what_the_protocol_says(storage, verb):
    assert shown(getattr(storage, verb)) == shown(getattr(CheckpointStorage, verb))
    assert inspect.iscoroutinefunction(getattr(storage, verb))


def test_postgres_takes_what_the_protocol_says():
    pytest.importorskip("psycopg")
    storage = actorflow.PostgresCheckpointStorage

    assert shown(storage) == (
        "dsn, *, schema='actorflow', lease_ttl=30.0, lease_renewal=None, lock_timeout=10.0, statement_timeout=60.0, "
        "idle_timeout=5.0, "
        "max_payload=67108864"
    )
    for verb in [name for name in vars(CheckpointStorage) if not name.startswith("_")]:
        assert shown(getattr(storage, verb)) == shown(getattr(CheckpointStorage, verb))


@pytest.mark.parametrize("kind", [getattr(events, name) for name in events.__all__ if name.endswith("Event")])
def test_wire_names_and_fields_of_events_stay(kind):
    common = ["run_id", "sequence", "time", "superstep", "path", "delivery_id"]
    own = EVENTS[kind.type].split() if kind is not events.WorkflowEvent else []

    assert [field.name for field in attrs.fields(kind)] == common + own


@pytest.mark.parametrize(("name", "builtin"), ERRORS.items())
def test_errors_keep_their_builtin(name, builtin):
    error = getattr(errors, name)

    assert issubclass(error, errors.ActorflowError)
    assert issubclass(error, builtin)


def test_every_error_that_is_not_listed_is_a_kind_of_invalid_workflow():
    others = set(errors.__all__) - set(ERRORS) - {"ActorflowError"}

    assert [name for name in others if not issubclass(getattr(errors, name), errors.WorkflowValidationError)] == []


@pytest.mark.parametrize(
    ("owner", "plain", "awaited"),
    [
        (WorkflowContext, "send_message request_info get_state set_state delete_state has_state", ""),
        (Workflow, "stream explain", "run start reset"),
        (Run, "cancel outputs explain", "respond wait"),
        (Executor, "", "on_start on_stop on_checkpoint_save on_checkpoint_restore"),
        (StorageTools, "", "history diff fork fsck"),
        (SqliteCheckpointStorage, "close", "vacuum"),
        (EncryptedStorage, "close", "vacuum"),
    ],
)
def test_what_cannot_block_is_plain_and_what_can_is_awaited(owner, plain, awaited):
    assert not any(inspect.iscoroutinefunction(getattr(owner, name)) for name in plain.split())
    assert all(inspect.iscoroutinefunction(getattr(owner, name)) for name in awaited.split())


def test_values_of_a_run_stay():
    result = set(vars(RunResult)) | {field.name for field in attrs.fields(RunResult)}

    assert result >= {"outputs", "intermediate_outputs", "requests", "status", "events", "supersteps", "checkpoint_id"}
    assert [state.name for state in actorflow.WorkflowRunState] == [
        "IDLE", "IN_PROGRESS", "IN_PROGRESS_PENDING_REQUESTS", "IDLE_WITH_PENDING_REQUESTS", "FAILED", "CANCELLED",
    ]  # fmt: skip
    assert {field.name for field in attrs.fields(SubWorkflowResponse)} >= {"request_id", "value"}


def test_the_package_and_its_rooms_have_what_a_program_needs():
    assert set(actorflow.__all__) >= {
        "EncryptedStorage", "ExecutorFailure", "Explanation", "RateLimit", "RequestTimeout", "RestartIntensity", "Retry",
        "SubWorkflowRequest", "SubWorkflowResponse", "SupervisionPolicy", "Upcaster", "WorkflowExecutor",
        "WorkflowRunState", "Durability", "HeldLease", "Inbox", "OpenRequest", "WaitingJoin", "WaitingTimer",
    }  # fmt: skip
    assert all(callable(each) for each in (crash_everywhere, rehydrate_everywhere, run_seeded, survive_chaos))
    assert inspect.isclass(StorageConformance)
