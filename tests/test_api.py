"""The public surface: the names users import, their signatures, and what importing costs."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import get_args

import attrs
import pytest

import actorflow
from actorflow import errors, events, testing
from actorflow.events import WorkflowEvent
from actorflow.runtime import explanation

PUBLIC = (actorflow, errors, events, testing)
EVENTS = [getattr(events, name) for name in events.__all__ if name.endswith("Event")]


def parameters(function):
    return list(inspect.signature(function).parameters)


def public_members():
    for module in PUBLIC:
        for name in module.__all__:
            yield f"{module.__name__}.{name}", getattr(module, name)


def test_the_names_of_the_package():
    assert set(actorflow.__all__) >= {
        "LATEST", "Case", "Checkpoint", "CheckpointID", "CheckpointInfo", "CheckpointStorage", "Default", "Executor",
        "InMemoryCheckpointStorage", "Run", "RunResult", "SqliteCheckpointStorage", "Workflow", "WorkflowBuilder",
        "WorkflowContext", "executor", "handler", "response_handler",
    }  # fmt: skip


def test_the_names_of_the_errors():
    assert set(errors.__all__) >= {
        "ActorflowError", "CheckpointError", "CheckpointNotFoundError", "CodecError", "ConvergenceError",
        "GraphMismatchError", "InternalError", "MessageTypeError", "RequestNotFoundError", "ResponseTypeError",
        "UndeliverableMessageError", "WorkflowBusyError", "WorkflowValidationError",
    }  # fmt: skip


def test_the_names_of_the_events():
    assert set(events.__all__) >= {
        "CheckpointFailedEvent", "CheckpointSavedEvent", "ExecutorCompletedEvent", "ExecutorFailedEvent",
        "ExecutorInvokedEvent", "ExecutorRetryingEvent", "FailedEvent", "IntermediateEvent", "MessageDroppedEvent",
        "OutputEvent", "RequestInfoEvent", "StartedEvent", "StatusEvent", "SuperstepCompletedEvent",
        "SuperstepStartedEvent", "WarningEvent", "WorkflowEvent", "WorkflowRunState", "from_json", "to_json",
    }  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_all_is_sorted_complete_and_true(module):
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
    own = {
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_") and callable(value)
    }
    assert own <= set(module.__all__)


@pytest.mark.parametrize(("name", "error"), [(name, getattr(errors, name)) for name in errors.__all__])
def test_every_error_is_ours_and_fits_a_builtin(name, error):
    assert issubclass(error, errors.ActorflowError)
    builtin = (ValueError, TypeError, RuntimeError, LookupError, TimeoutError)
    assert name == "ActorflowError" or issubclass(error, builtin)


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_is_frozen_and_has_the_common_fields(kind):
    assert issubclass(kind, WorkflowEvent)
    assert attrs.has(kind)
    assert isinstance(kind.type, str)
    names = [field.name for field in attrs.fields(kind)]
    assert names[:5] == ["run_id", "sequence", "time", "superstep", "path"]
    assert all(field.kw_only for field in attrs.fields(kind))
    assert "frozen" in kind.__setattr__.__qualname__


def test_every_kind_of_event_has_its_own_wire_name():
    assert len({kind.type for kind in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (actorflow.Executor.__init__, ["self", "id", "policy", "concurrency", "rate_limit"]),
        (actorflow.executor, ["function", "id", "policy", "concurrency", "rate_limit"]),
        (actorflow.handler, ["function", "input", "output", "workflow_output"]),
        (actorflow.response_handler, ["function", "request", "response", "output", "workflow_output"]),
        (actorflow.WorkflowContext.send_message, ["self", "message", "target_id"]),
        (actorflow.WorkflowContext.yield_output, ["self", "value"]),
        (actorflow.WorkflowContext.request_info, ["self", "data", "response_type", "request_id"]),
        (actorflow.WorkflowContext.add_event, ["self", "event"]),
        (actorflow.WorkflowContext.get_state, ["self", "key", "default"]),
        (actorflow.WorkflowContext.set_state, ["self", "key", "value"]),
        (actorflow.WorkflowContext.delete_state, ["self", "key"]),
        (actorflow.WorkflowContext.has_state, ["self", "key"]),
        (
            actorflow.WorkflowBuilder.__init__,
            ["self", "name", "start_executor", "description", "max_supersteps", "checkpoint_storage", "output_from",
             "intermediate_output_from", "reducers", "state_types", "strict", "checkpoint_failures", "policy", "max_concurrency", "cleanup_grace"],
        ),
        (actorflow.Retry, ["attempts", "delay", "factor", "max_delay", "jitter", "on"]),
        (actorflow.SupervisionPolicy, ["timeout", "retry", "on_failure", "restarts"]),
        (actorflow.RestartIntensity, ["max_restarts", "period"]),
        (actorflow.RateLimit, ["limit", "period"]),
        (actorflow.ExecutorFailure, ["executor_id", "error_type", "error_message", "message", "attempts"]),
        (actorflow.WorkflowBuilder.add_edge, ["self", "source", "target", "condition"]),
        (actorflow.WorkflowBuilder.add_fan_out_edges, ["self", "source", "targets"]),
        (actorflow.WorkflowBuilder.add_multi_selection_edge_group, ["self", "source", "targets", "selection_func"]),
        (actorflow.WorkflowBuilder.add_switch_case_edge_group, ["self", "source", "cases"]),
        (actorflow.WorkflowBuilder.add_fan_in_edges, ["self", "sources", "target", "wait"]),
        (actorflow.WorkflowBuilder.add_chain, ["self", "executors"]),
        (actorflow.WorkflowBuilder.build, ["self", "id"]),
        (
            actorflow.Workflow.run,
            ["self", "message", "responses", "checkpoint_id", "checkpoint_storage", "durability", "config", "wait"],
        ),
        (actorflow.Workflow.reset, ["self"]),
        (actorflow.Run.respond, ["self", "request_id", "value"]),
        (actorflow.Run.wait, ["self"]),
        (actorflow.Run.cancel, ["self"]),
        (actorflow.Run.outputs, ["self"]),
        (actorflow.Case, ["condition", "target"]),
        (actorflow.Default, ["target"]),
        (events.to_json, ["event"]),
        (events.from_json, ["text", "types"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)  # fmt: skip
def test_signatures_begin_as_documented(function, names):
    """What is added later may only be keyword-only, so that a port of today goes on working."""
    found = inspect.signature(function).parameters

    assert [name for name in found if name in names] == names
    assert all(found[name].kind is inspect.Parameter.KEYWORD_ONLY for name in found if name not in names)


@pytest.mark.parametrize(
    "function",
    [
        actorflow.Workflow.run,
        actorflow.Workflow.start,
        actorflow.Workflow.stream,
        testing.crash_everywhere,
        testing.rehydrate_everywhere,
        testing.survive_chaos,
    ],
    ids=lambda function: function.__qualname__,
)
def test_every_durability_is_annotated_by_the_name_that_is_exported(function):
    annotation = inspect.get_annotations(inspect.unwrap(function))["durability"]

    assert annotation.removesuffix(" | None") == "Durability"
    assert get_args(actorflow.Durability) == ("superstep", "async", "exit", "delivery")


def test_the_parts_of_an_explanation_are_exported():
    hints = inspect.get_annotations(actorflow.Explanation)
    parts = {part for part in explanation.__all__ if any(part in hint for hint in hints.values())}

    assert parts == {"HeldLease", "Inbox", "OpenRequest", "WaitingJoin", "WaitingTimer"}
    assert parts <= set(actorflow.__all__)


@pytest.mark.parametrize("durability", ["", "sometimes", 3, [], False])
async def test_an_unknown_durability_is_refused_by_name(durability):
    @actorflow.executor
    async def step(message: str) -> None: ...

    workflow = actorflow.WorkflowBuilder(name="w", start_executor=step).build()
    with pytest.raises(
        ValueError, match=r"durability=.* is unknown; give one of 'superstep', 'async', 'exit', 'delivery'"
    ):
        await workflow.run("a", durability=durability)


def test_stream_and_start_take_all_that_run_takes():
    run = parameters(actorflow.Workflow.run)

    assert [
        name for name in parameters(actorflow.Workflow.stream) if name not in ("buffer", "wait_for_responses")
    ] == run
    start = parameters(actorflow.Workflow.start)
    assert [name for name in start if name not in ("buffer", "wait_for_responses", "task_status")] == run


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (
            actorflow.Workflow,
            "status name id description graph_signature input_types output_types executors pending_requests head",
        ),
        (actorflow.Run, "id status result events"),
        (actorflow.RunResult, "outputs intermediate_outputs requests status events supersteps checkpoint_id"),
        (actorflow.WorkflowContext, "source_executor_ids request_id superstep attempt is_cancelled config delivery_id"),
        (actorflow.Executor, "on_start on_stop on_checkpoint_save on_checkpoint_restore type_name"),
        (actorflow.CheckpointStorage, "load latest list lineage children delete save"),
        (
            actorflow.Checkpoint,
            "id parent_id workflow_name workflow_id run_id superstep kind graph_signature created_at format_version contents",
        ),
    ],
)
def test_attributes_are_there_as_documented(owner, names):
    fields = [field.name for field in attrs.fields(owner)] if attrs.has(owner) else []

    missing = [name for name in names.split() if not hasattr(owner, name) and name not in fields]
    assert missing == []


def test_the_runner_is_internal_but_can_be_imported_with_a_warning():
    with pytest.warns(DeprecationWarning, match="Runner is internal") as caught:
        from actorflow import Runner

    assert Runner.__name__ == "Runner"
    assert caught[0].filename == __file__
    assert "Runner" not in actorflow.__all__


def test_names_are_imported_on_use_and_each_is_there():
    assert modules_after("import actorflow") & {"trio", "attrs", "apsw", "structlog", "actorflow.workflow"} == set()
    assert "trio" in modules_after("import actorflow; actorflow.Workflow")
    for room in ("errors", "events", "storage", "testing"):
        assert f"actorflow.{room}" in modules_after(f"import actorflow; actorflow.{room}.__all__")
    assert {*actorflow.__all__, "PostgresCheckpointStorage", "errors", "events", "storage", "testing"} <= {
        *dir(actorflow)
    }


def test_dir_shows_the_public_names_and_nothing_of_how_they_are_found():
    shown = {name for name in dir(actorflow) if not name.startswith("_")}

    assert shown == {*actorflow.__all__, "PostgresCheckpointStorage", "errors", "events", "storage", "testing"}


def test_what_is_imported_on_use_is_what_type_checkers_are_told():
    tree = ast.parse(Path(actorflow.__file__).read_text(encoding="utf-8"))
    [told] = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {alias.name: node.module for node in told.body for alias in node.names}

    assert homes == {**actorflow._HOME_OF, "PostgresCheckpointStorage": "actorflow.checkpoint.postgres.storage"}
    assert {*homes} - {"PostgresCheckpointStorage"} == {*actorflow.__all__}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'actorflow' has no attribute 'Runnner'"):
        actorflow.Runnner
    with pytest.raises(ImportError):
        from actorflow import Nothing  # noqa: F401


def test_the_package_is_marked_as_typed():
    assert files("actorflow").joinpath("py.typed").is_file()


@pytest.mark.parametrize(
    ("name", "value"), list(public_members()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_public_class_and_function_and_its_methods_have_a_docstring(name, value):
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value), name
    if inspect.isclass(value):
        for member, attribute in vars(value).items():
            if not member.startswith("_") and (inspect.isfunction(attribute) or isinstance(attribute, property)):
                assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def modules_after(statement):
    root = str(Path(actorflow.__file__).parent.parent)
    program = f"import sys; sys.path.insert(0, {root!r}); {statement}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    )


def test_importing_the_package_imports_no_face_and_no_test_tool():
    imported = modules_after("from actorflow import *; import actorflow.errors, actorflow.events")
    imported -= modules_after("import structlog")  # takes rich, where it is installed

    unwanted = {
        "trio.testing",
        "pytest",
        "hypothesis",
        "rich",
        "cyclopts",
        "pydantic",
        "actorflow.cli",
        "actorflow.testing",
    }
    assert imported & unwanted == set()


def test_the_pure_floors_import_no_trio():
    names = [
        module.name
        for floor in ("core", "graph")
        for module in pkgutil.iter_modules(
            importlib.import_module(f"actorflow.{floor}").__path__, f"actorflow.{floor}."
        )
    ]
    program = (
        "import types; package = types.ModuleType('actorflow'); "
        f"package.__path__ = [{str(Path(actorflow.__file__).parent)!r}]; sys.modules['actorflow'] = package; "
        f"import {', '.join(names)}"
    )

    imported = modules_after(program)

    assert imported & {"trio", "apsw", "structlog", "asyncio"} == set()
    assert {name for name in imported if name.startswith("actorflow.")} <= {
        "actorflow.core", "actorflow.graph", "actorflow.errors", "actorflow.policy", *names,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (actorflow.Run, "cancel events explain id outputs respond result status wait"),
        (
            actorflow.Executor,
            "handler_table on_checkpoint_restore on_checkpoint_save on_start on_stop signature_name type_name",
        ),
        (actorflow.RunResult, "checkpoint_id events intermediate_outputs outputs requests status supersteps"),
    ],
)
def test_what_users_hold_shows_what_is_documented_and_nothing_of_the_runtime(owner, names):
    fields = [field.name for field in attrs.fields(owner)] if attrs.has(owner) else []

    assert sorted(name for name in {*dir(owner), *fields} if not name.startswith("_")) == names.split()
