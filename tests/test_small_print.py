"""What users rely on without noticing: the log, a forgotten await, a second history, errors that travel."""

import copy
import pickle
from typing import Never

import pytest
import structlog

from actorflow import Executor, InMemoryCheckpointStorage, WorkflowBuilder, WorkflowContext, errors, executor, handler
from actorflow.errors import ActorflowError, CodecError, ConvergenceError, LeaseHeldError, RequestNotFoundError
from actorflow.events import WarningEvent, WorkflowEvent


@executor
async def first(message: str, ctx: WorkflowContext[str]) -> None:
    ctx.send_message(message)


@executor
async def second(message: str, ctx: WorkflowContext[Never, str]) -> None:
    await ctx.yield_output(message)


def build(storage=None, workflow_id=None):
    builder = WorkflowBuilder(name="small print", start_executor=first, checkpoint_storage=storage)
    return builder.add_edge(first, second).build(id=workflow_id)


async def test_an_application_that_configured_structlog_gets_one_line_for_each_superstep():
    try:
        with structlog.testing.capture_logs() as lines:
            structlog.configure()
            await build(workflow_id="W").run("x")
    finally:  # after the block, which configures on its way out
        structlog.reset_defaults()

    assert [(line["event"], line["log_level"], line["workflow"], line["superstep"]) for line in lines] == [
        ("superstep", "debug", "W", 1),
        ("superstep", "debug", "W", 2),
    ]


async def test_others_get_no_line_at_all(capsys):
    structlog.reset_defaults()

    await build().run("x")

    assert capsys.readouterr() == ("", "")


class Forgetful(Executor):
    @handler
    async def forget(self, message: str, ctx: WorkflowContext[Never, str]) -> None:
        if message == "event":
            ctx.add_event(WarningLike())
        else:
            ctx.yield_output(message)


class WarningLike(WorkflowEvent):
    pass


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize(("message", "verb"), [("output", "yield_output"), ("event", "add_event")])
async def test_a_forgotten_await_fails_the_handler_that_forgot_it(message, verb):
    """P8: nothing is dropped in silence."""
    workflow = WorkflowBuilder(name="x", start_executor=Forgetful("f")).build()

    with pytest.raises(
        errors.ContextClosedError, match=rf"Forgetful\.forget called ctx\.{verb}\(\.\.\.\) without await"
    ):
        await workflow.run(message)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
async def test_a_plain_function_that_yields_as_if_it_were_async_fails_too():
    def plain(message: str, ctx: WorkflowContext[Never, str]) -> None:
        ctx.yield_output(message)

    workflow = WorkflowBuilder(name="x", start_executor=executor(plain)).build()

    with pytest.raises(errors.ContextClosedError, match=r"trio\.from_thread\.run\(ctx\.yield_output"):
        await workflow.run("x")


async def test_a_fresh_object_that_begins_anew_under_an_old_id_says_so():
    storage = InMemoryCheckpointStorage()
    old = build(storage, "W")
    await old.run("x")

    result = await build(storage, "W").run("y")
    again = await old.run("z")

    (warning,) = [event for event in result.events if isinstance(event, WarningEvent)]
    assert old.head != result.checkpoint_id
    assert "checkpoint_id=LATEST" in warning.message
    assert not [event for event in again.events if isinstance(event, WarningEvent)]


@pytest.mark.parametrize("config", [3, [1], "text"])
async def test_a_config_that_is_no_mapping_is_refused_by_name(config):
    with pytest.raises(ValueError, match="config is a mapping"):
        await build().run("x", config=config)


@pytest.mark.parametrize("checkpoint_id", [3, object()])
async def test_a_checkpoint_id_that_is_none_is_refused(checkpoint_id):
    with pytest.raises(ValueError, match=r"id of a checkpoint or LATEST.*give \.id"):
        await build(InMemoryCheckpointStorage()).run(checkpoint_id=checkpoint_id)


async def test_a_selection_that_returns_nothing_names_its_edges():
    builder = WorkflowBuilder(name="x", start_executor=first)
    builder.add_multi_selection_edge_group(first, [second, Forgetful("f")], lambda _message, _ids: None)

    with pytest.raises(ValueError, match="returned None") as raised:
        await builder.build().run("x")

    assert any("selection 'first'" in note for note in raised.value.__notes__)


@pytest.mark.parametrize(
    "error",
    [
        CodecError("state['x']", "cannot be stored"),
        ConvergenceError("W", 5, ("a",)),
        RequestNotFoundError("r", ("s",)),
        LeaseHeldError("W", owner="o", host="h", age=1.0, expires_in=2.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_copied_and_sent_to_another_process(error: ActorflowError):
    for travelled in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(travelled) is type(error)
        assert str(travelled) == str(error)
        assert travelled.__dict__ == error.__dict__
