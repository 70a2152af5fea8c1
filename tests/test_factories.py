"""Factories: one builder makes any number of independent workflows, cheaply (F14)."""

import functools
import time

import pytest
import trio

import actorflow.builder
from actorflow import Executor, WorkflowBuilder, WorkflowContext, handler
from actorflow.errors import DuplicateExecutorError, ExecutorReusedError, StateTypeError, WorkflowValidationError


class Count(Executor):
    state: list

    def __init__(self, id="count"):  # noqa: A002 - the name of the base
        super().__init__(id=id)

    @handler
    async def take(self, message: int, ctx: WorkflowContext[int, list]) -> None:
        self.state.append(message)
        await ctx.yield_output(list(self.state))


class Other(Count): ...


def test_a_thousand_workflows_are_validated_once_and_are_all_different(monkeypatch):
    calls = []
    monkeypatch.setattr(actorflow.builder, "validate", lambda graph: calls.append(graph))
    builder = WorkflowBuilder(name="w", start_executor=Count).add_edge("count", lambda: Count(id="b"))

    began = time.perf_counter()
    workflows = [builder.build() for _ in range(1000)]
    took = time.perf_counter() - began

    assert len(calls) == 1
    assert len({workflow.id for workflow in workflows}) == 1000
    assert len({id(executor) for workflow in workflows for executor in workflow.executors.values()}) == 2000
    assert len({id(workflow._core.definition) for workflow in workflows}) == 1
    assert took < 5


async def test_workflows_of_one_builder_share_no_state_even_when_they_run_at_once():
    builder = WorkflowBuilder(name="w", start_executor=Count)
    workflows = [builder.build() for _ in range(20)]
    results = {}

    async def run(number):
        await workflows[number].run(number)
        results[number] = (await workflows[number].run(-number)).outputs

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(run, number)

    assert results == {number: [[number, -number]] for number in range(20)}


def test_a_factory_is_called_once_for_each_workflow():
    made = []

    def factory():
        made.append(Count())
        return made[-1]

    builder = WorkflowBuilder(name="w", start_executor=factory)
    workflows = [builder.build() for _ in range(3)]

    assert [workflow.executors["count"] for workflow in workflows] == made


class Maker:
    def make(self):
        return Count(id="made")


@pytest.mark.parametrize(
    ("factory", "id_"),
    [(Count, "count"), (functools.partial(Count, id="p"), "p"), (lambda: Count(id="l"), "l"), (Maker().make, "made")],
)
def test_classes_partials_lambdas_and_methods_are_factories_and_each_is_one_executor(factory, id_):
    builder = WorkflowBuilder(name="w", start_executor=factory).add_edge(factory, Count(id="z")).add_edge("z", factory)

    assert set(builder.build().executors) == {id_, "z"}


def test_a_method_looked_up_twice_is_one_factory_and_that_of_another_object_is_not():
    maker = Maker()
    builder = WorkflowBuilder(name="w", start_executor=maker.make).add_edge(maker.make, Count(id="z"))

    assert set(builder.build().executors) == {"made", "z"}
    with pytest.raises(DuplicateExecutorError):
        builder.add_edge("z", Maker().make)


def test_two_factories_of_one_id_are_refused():
    builder = WorkflowBuilder(name="w", start_executor=lambda: Count(id="a"))

    with pytest.raises(
        DuplicateExecutorError, match=r"two executors have the id 'a'.*refer to the one already added by its id"
    ):
        builder.add_edge("a", lambda: Count(id="a"))


def test_many_short_lived_factories_are_never_mistaken_for_each_other():
    """The identity of a factory that was let go may be given to another one."""
    builder = WorkflowBuilder(name="w", start_executor=lambda: Count(id="first"))
    for number in range(200):
        with pytest.raises(DuplicateExecutorError):
            builder._add(lambda: Count(id="first"))
        assert builder._add(functools.partial(Count, id=str(number))) == str(number)


@pytest.mark.parametrize("then", [lambda: Count(id="b"), lambda: Other(id="a")])
def test_a_factory_that_makes_another_id_or_kind_later_is_refused(then):
    makes = iter([lambda: Count(id="a"), then])
    builder = WorkflowBuilder(name="w", start_executor=lambda: next(makes)())
    builder.build()

    with pytest.raises(WorkflowValidationError, match=r"'a' has become .* makes the same every time"):
        builder.build()


def test_a_factory_that_returns_the_same_object_again_is_told_so():
    only = Count(id="a")
    builder = WorkflowBuilder(name="w", start_executor=lambda: only)
    builder.build()

    with pytest.raises(ExecutorReusedError, match=r"the factory of executor 'a' returned .* let it make a new Count"):
        builder.build()


def test_what_is_no_factory_is_refused():
    class Needs(Count):
        def __init__(self, id):  # noqa: A002 - the name of the base
            super().__init__(id=id)

    with pytest.raises(
        WorkflowValidationError, match=r"is not a zero-argument factory .* give an executor, or a lambda"
    ):
        WorkflowBuilder(name="w", start_executor=Needs)
    with pytest.raises(WorkflowValidationError, match=r"made 'text', which is no Executor"):
        WorkflowBuilder(name="w", start_executor=lambda: "text")


def test_an_error_of_the_executor_itself_comes_out_of_its_factory():
    class Broken(Count):
        state: memoryview

    with pytest.raises(StateTypeError, match=r"cannot be constructed"):
        WorkflowBuilder(name="w", start_executor=Broken)


def test_a_failed_build_does_not_use_up_what_the_factories_made():
    taken = Count(id="taken")
    WorkflowBuilder(name="w", start_executor=taken).build()
    made = []
    builder = WorkflowBuilder(name="w", start_executor=lambda: made.append(0) or Count(id="a")).add_edge("a", taken)

    for _ in range(3):
        with pytest.raises(ExecutorReusedError):
            builder.build()

    assert len(made) == 1
