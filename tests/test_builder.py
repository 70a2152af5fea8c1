"""The builder: what it takes, that executors belong to one workflow, and that what it builds runs."""

import pytest

import actorflow.builder
from actorflow import (
    Case,
    Default,
    Executor,
    InMemoryCheckpointStorage,
    WorkflowBuilder,
    WorkflowContext,
    executor,
    handler,
)
from actorflow.errors import (
    DuplicateExecutorError,
    ExecutorReusedError,
    HandlerSignatureError,
    MessageTypeError,
    StateTypeError,
    WorkflowValidationError,
)


class Add(Executor):
    """Adds its own id to the text and passes it on, both as a message and as an output."""

    @handler
    async def take(self, message: str, ctx: WorkflowContext[str, str]) -> None:
        ctx.send_message(message + self.id)
        await ctx.yield_output(message + self.id)


class Gather(Executor):
    @handler
    async def take(self, message: list[str], ctx: WorkflowContext[str, str]) -> None:
        await ctx.yield_output("+".join(message))


class Aim(Executor):
    """Sends to the executor that the message names."""

    @handler
    async def take(self, message: str, ctx: WorkflowContext[str]) -> None:
        ctx.send_message("x", target_id=message)


def start(**more):
    return WorkflowBuilder(name="w", start_executor=Add(id="a"), **more)


async def outputs(builder, message=""):
    return (await builder.build().run(message)).outputs


async def test_a_chain_runs_from_end_to_end():
    assert await outputs(start().add_chain(["a", Add(id="b"), Add(id="c")])) == ["a", "ab", "abc"]


async def test_fan_out_and_fan_in_run():
    builder = start(output_from=["d"]).add_fan_out_edges("a", [Add(id="b"), Add(id="c")])

    assert await outputs(builder.add_fan_in_edges(["c", "b"], Gather(id="d"))) == ["ac+ab"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_conditions_selections_and_switches_may_be_sync_or_async(is_async):
    def made(function):
        async def later(*arguments):
            return function(*arguments)

        return later if is_async else function

    builder = start(output_from=["d", "e", "f", "g", "h"])
    builder.add_edge("a", Add(id="b"), made(lambda message: "a" in message))
    builder.add_edge("a", Add(id="d"), made(lambda message: "z" in message))
    builder.add_multi_selection_edge_group("b", [Add(id="c"), Add(id="e")], made(lambda message, ids: [*reversed(ids)]))
    builder.add_switch_case_edge_group(
        "c", [Case(made(lambda m: False), Add(id="f")), Case(made(lambda m: 1), Add(id="g")), Default(Add(id="h"))]
    )

    assert await outputs(builder) == ["abe", "abcg"]


async def test_an_async_condition_that_raises_comes_out_as_itself_and_names_the_edge():
    """F21."""

    async def condition(message):
        raise ZeroDivisionError

    workflow = start().add_edge("a", Add(id="b"), condition).build()

    with pytest.raises(ZeroDivisionError) as caught:
        await workflow.run("")

    assert "edge 'a' -> 'b'" in "".join(caught.value.__notes__)


async def test_a_targeted_message_goes_along_the_edge_to_its_target():
    builder = WorkflowBuilder(name="w", start_executor=Aim(id="a")).add_fan_out_edges("a", [Add(id="b"), Add(id="c")])

    assert await outputs(builder, "c") == ["xc"]


async def test_what_a_workflow_tells_of_itself_is_what_the_builder_was_told():
    workflow = start(description="d").build(id="x")

    assert (workflow.name, workflow.description, workflow.id) == ("w", "d", "x")
    assert (workflow.input_types, workflow.output_types) == ((str,), (str,))
    assert list(workflow.executors) == ["a"]
    assert start().build().id != start().build().id
    with pytest.raises(MessageTypeError, match=r"the start executor 'a' cannot take int; it handles str"):
        await workflow.run(1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": ""}, "name is a non-empty str"),
        ({"name": None}, "name is a non-empty str"),
        ({"max_supersteps": 0}, "max_supersteps is a whole number from 1, not 0"),
        ({"max_supersteps": True}, "not True"),
        ({"max_supersteps": 1.5}, "not 1.5"),
        ({"checkpoint_failures": "ignore"}, "'raise' or 'warn', not 'ignore'"),
        ({"reducers": {"k": 1}}, "reducers maps state keys to functions"),
        ({"reducers": {1: max}}, "reducers maps state keys to functions"),
        ({"reducers": [max]}, "reducers maps state keys to functions"),
        ({"state_types": int}, "state_types is a list of types, not <class 'int'>"),
        ({"checkpoint_storage": "file.db"}, "for a file give SqliteCheckpointStorage"),
        ({"checkpoint_storage": InMemoryCheckpointStorage}, "checkpoint_storage is a CheckpointStorage, not"),
    ],
)
def test_arguments_out_of_range_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        WorkflowBuilder(**{"name": "w", "start_executor": Add(id="a"), **given})


def test_an_empty_workflow_id_is_refused():
    for given in ("", 1):
        with pytest.raises(ValueError, match=r"workflow's id is a non-empty str"):
            start().build(id=given)


# Executors as objects.


def test_two_objects_with_one_id_are_refused():
    with pytest.raises(DuplicateExecutorError, match=r"two executors have the id 'a'.*give each its own"):
        start().add_edge("a", Add(id="a"))


def test_one_object_may_be_given_as_often_as_needed():
    first, second = Add(id="a"), Add(id="b")

    workflow = WorkflowBuilder(name="w", start_executor=first).add_edge(first, second).add_edge(second, first).build()

    assert workflow.executors == {"a": first, "b": second}


def test_an_object_belongs_to_the_first_workflow_built_with_it():
    """F14."""
    shared = Add(id="a")
    builder = WorkflowBuilder(name="w", start_executor=shared)
    builder.build()

    for other in (builder, WorkflowBuilder(name="other", start_executor=shared)):
        with pytest.raises(ExecutorReusedError, match=r"'a' belongs to another workflow; .* lambda: Add\(id='a'\)"):
            other.build()


def test_a_build_that_is_refused_takes_nothing():
    taken, free = Add(id="b"), Add(id="a")
    WorkflowBuilder(name="w", start_executor=taken).build()

    with pytest.raises(ExecutorReusedError):
        WorkflowBuilder(name="w", start_executor=free).add_edge(free, taken).build()

    WorkflowBuilder(name="w", start_executor=free).build()


def test_a_function_executor_keeps_no_state_and_may_serve_several_workflows():
    @executor
    async def function(message: str) -> None: ...

    for name in ("one", "two"):
        WorkflowBuilder(name=name, start_executor=function).build()


def test_what_is_no_executor_is_refused():
    for given in (1, [Add(id="a")]):
        with pytest.raises(WorkflowValidationError, match=r"is no executor, factory or id"):
            start().add_edge("a", given)


def test_a_class_that_does_not_call_its_base_is_refused():
    class Forgets(Add):
        def __init__(self): ...

    for given in (Forgets(), Forgets):
        with pytest.raises(WorkflowValidationError, match=r"Forgets.__init__ must call super\(\).__init__\(id=...\)"):
            WorkflowBuilder(name="w", start_executor=given)


def test_an_id_that_changes_after_adding_is_refused():
    node = Add(id="a")
    builder = WorkflowBuilder(name="w", start_executor=node)
    node.id = "b"

    with pytest.raises(WorkflowValidationError):
        builder.build()


def test_an_executor_that_cannot_work_is_refused_whatever_the_graph():
    class Empty(Executor): ...

    class Keeps(Add):
        state: list

    class Hooked(Add):
        async def on_checkpoint_save(self):
            return {}

    with pytest.raises(HandlerSignatureError, match=r"Empty has no @handler"):
        WorkflowBuilder(name="w", start_executor=Empty(id="a")).build()
    for kind in (Keeps, Hooked):
        with pytest.raises(
            StateTypeError, match=r"'a' has concurrency=2 and a state of its own; .* or use concurrency=1"
        ):
            WorkflowBuilder(name="w", start_executor=kind(id="a", concurrency=2)).build()


def test_the_graph_is_compiled_again_only_if_it_changed(monkeypatch):
    calls = []
    monkeypatch.setattr(actorflow.builder, "validate", lambda graph: calls.append(graph))
    builder = WorkflowBuilder(name="w", start_executor=lambda: Add(id="a"))

    builder.build()
    builder.build()
    assert len(calls) == 1
    builder.add_edge("a", lambda: Add(id="b"))
    assert list(builder.build().executors) == ["a", "b"]
    assert len(calls) == 2
