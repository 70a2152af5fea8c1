"""What is wrong with a graph: each defect is found at build time, has its own class, and says the way out."""

import typing
import warnings

import pytest

from actorflow import Case, Default, Executor, WorkflowBuilder, WorkflowContext, handler
from actorflow.errors import (
    DuplicateEdgeError,
    EdgeGroupError,
    GraphConnectivityError,
    MissingStartError,
    OutputDesignationError,
    SwitchCaseError,
    TypeCompatibilityError,
    UnknownExecutorError,
    UnreachableExecutorError,
    WorkflowValidationError,
)
from actorflow.graph.validation import SelfLoopWarning


class Number(Executor):
    """int to int."""

    @handler
    async def take(self, message: int, ctx: WorkflowContext[int, int]) -> None: ...


class Text(Executor):
    """str to str."""

    @handler
    async def take(self, message: str, ctx: WorkflowContext[str]) -> None: ...


class Numbers(Executor):
    """A list of int."""

    @handler
    async def take(self, message: list[int], ctx: WorkflowContext[int]) -> None: ...


class Silent(Executor):
    """Takes int, sends nothing."""

    @handler
    async def take(self, message: int, ctx: WorkflowContext) -> None: ...


class Anything(Executor):
    @handler
    async def take(self, message: typing.Any, ctx: WorkflowContext[typing.Any]) -> None: ...


def start(**more):
    return WorkflowBuilder(name="w", start_executor=Number(id="a"), **more)


def refused(kind, says):
    return pytest.raises(kind, match=says)


def test_every_kind_of_defect_is_a_validation_error_and_a_value_error():
    for kind in (
        DuplicateEdgeError,
        EdgeGroupError,
        GraphConnectivityError,
        MissingStartError,
        OutputDesignationError,
        SwitchCaseError,
        TypeCompatibilityError,
        UnknownExecutorError,
        UnreachableExecutorError,
    ):
        assert issubclass(kind, WorkflowValidationError)
        assert issubclass(kind, ValueError)


def test_a_missing_start_executor_is_refused():
    with refused(MissingStartError, "'w' has no start executor; give start_executor="):
        WorkflowBuilder(name="w", start_executor=None)
    with refused(MissingStartError, "'nobody' was never added; give the executor itself"):
        WorkflowBuilder(name="w", start_executor="nobody").add_edge(Number(id="a"), Number(id="b")).build()


def test_an_id_that_was_never_added_is_refused_with_the_edge():
    with refused(UnknownExecutorError, "edge 'a' -> 'b' names 'b', which was never added; .* or fix the id"):
        start().add_edge("a", "b").build()


@pytest.mark.parametrize(
    "again",
    [
        lambda builder: builder.add_edge("a", "b"),
        lambda builder: builder.add_edge("a", "b", lambda message: True),
        lambda builder: builder.add_fan_out_edges("a", ["c", "b"]),
        lambda builder: builder.add_multi_selection_edge_group("a", ["b", "c"], lambda message, ids: ids),
        lambda builder: builder.add_switch_case_edge_group("a", [Case(lambda message: True, "c"), Default("b")]),
        lambda builder: builder.add_chain(["a", "b"]),
    ],
)
def test_the_same_two_executors_joined_twice_are_refused_however_it_is_written(again):
    builder = start().add_edge("a", Number(id="b")).add_edge("b", Number(id="c"))

    with refused(DuplicateEdgeError, "repeats 'a' -> 'b' of edge 'a' -> 'b'; remove one of them"):
        again(builder).build()


def test_two_joins_with_a_common_source_and_target_are_refused_but_a_join_beside_an_edge_is_not():
    def builder():
        return (
            start()
            .add_fan_out_edges("a", [Number(id="b"), Number(id="c")])
            .add_fan_in_edges(["b", "c"], Anything(id="d"))
        )

    with refused(DuplicateEdgeError, "fan-in .* repeats 'b' -> 'd'"):
        builder().add_fan_in_edges(["b", "a"], "d").build()
    builder().add_edge("b", "d").build()


def test_an_edge_that_can_carry_nothing_is_refused_with_both_sides():
    with refused(
        TypeCompatibilityError, "edge 'a' -> 't': executor 't' cannot take int from 'a'; it handles str; add a handler"
    ):
        start().add_edge("a", Text(id="t")).build()
    with refused(
        TypeCompatibilityError, r"'s' declares no messages to send; annotate its context as WorkflowContext\[...\]"
    ):
        WorkflowBuilder(name="w", start_executor=Silent(id="s")).add_edge("s", Number(id="b")).build()


def test_every_end_of_a_group_is_checked():
    with refused(TypeCompatibilityError, r"fan-out 'a' -> \['b', 't'\]: executor 't' cannot take int"):
        start().add_fan_out_edges("a", [Number(id="b"), Text(id="t")]).build()
    with refused(TypeCompatibilityError, "switch 'a'"):
        start().add_switch_case_edge_group("a", [Case(bool, Number(id="b")), Default(Text(id="t"))]).build()


def test_the_target_of_a_join_must_take_a_list():
    def join(target):
        return start().add_fan_out_edges("a", [Number(id="b"), Number(id="c")]).add_fan_in_edges(["b", "c"], target)

    with refused(TypeCompatibilityError, r"executor 'd' cannot take list\[int\] from 'b'; it handles int"):
        join(Number(id="d")).build()
    join(Numbers(id="d")).build()
    join(Anything(id="d")).build()


def test_every_source_of_a_join_must_fit_its_list():
    class Splits(Executor):
        @handler
        async def take(self, message: int, ctx: WorkflowContext[int | str]) -> None: ...

    builder = WorkflowBuilder(name="w", start_executor=Splits(id="a"))
    builder.add_fan_out_edges("a", [Number(id="b"), Text(id="t")]).add_fan_in_edges(["b", "t"], Numbers(id="d"))

    with refused(TypeCompatibilityError, r"executor 'd' cannot take list\[str\] from 't'"):
        builder.build()


def test_isolated_and_unreachable_executors_are_told_apart():
    isolated = start(output_from=["a"])
    isolated._add(Number(id="lonely"))
    with refused(GraphConnectivityError, "'lonely' has no edge; connect it, or leave it out"):
        isolated.build()

    lost = start().add_edge("a", Number(id="b")).add_edge(Number(id="c"), "b")
    with refused(UnreachableExecutorError, "no path leads from the start executor 'a' to 'c'"):
        lost.build()
    with refused(UnreachableExecutorError, "to 'c'"):
        start().add_chain([Number(id="c"), Number(id="d"), "c"]).build()


def test_one_executor_alone_is_a_workflow():
    assert list(start().build().executors) == ["a"]


@pytest.mark.parametrize(
    ("cases", "says"),
    [
        ([], "has no Default; end the list with Default"),
        ([Case(bool, "b")], "has no Default"),
        ([Default("b"), Case(bool, "b")], "its Default at position 1 of 2; put it last"),
        ([Case(bool, "b"), Default("b"), Default("c")], "has 2 Defaults; keep the last one only"),
        ([Default("b")], "has no Case before its Default"),
        ([(bool, "b"), Default("b")], r"among its cases; give Case\(condition, target\)"),
    ],
)
def test_a_switch_ends_with_its_only_default(cases, says):
    """F22."""
    with refused(SwitchCaseError, f"the switch after 'a' .*{says}"):
        start().add_switch_case_edge_group("a", cases)


@pytest.mark.parametrize("ends", [[], ["b"], ["b", "b"], ["b", "c", "b"]])
def test_groups_need_two_different_ends(ends):
    says = r"more than once; name each end once" if len(ends) > 1 else r"needs at least two ends, got .*use add_edge"
    for add in (
        lambda builder: builder.add_fan_out_edges("a", ends),
        lambda builder: builder.add_fan_in_edges(ends, "a"),
        lambda builder: builder.add_multi_selection_edge_group("a", ends, lambda message, ids: ids),
    ):
        with refused(EdgeGroupError, says):
            add(start())


def test_a_chain_needs_two_and_a_list_is_a_list():
    for given in ([], ["a"]):
        with refused(EdgeGroupError, "a chain needs at least two executors"):
            start().add_chain(given)
    for given in ("ab", Number(id="b")):
        with refused(EdgeGroupError, "a list of executors is wanted, not .* alone"):
            start().add_chain(given)


@pytest.mark.parametrize(
    "add",
    [
        lambda builder: builder.add_edge("a", "b", "c"),
        lambda builder: builder.add_switch_case_edge_group("a", [Case(True, "b"), Default("c")]),
        lambda builder: builder.add_multi_selection_edge_group("a", ["b", "c"], ["b"]),
    ],
)
def test_a_condition_that_is_no_function_is_refused_at_once(add):
    with refused(EdgeGroupError, "it must be a function of the message"):
        add(start())


def test_an_unknown_wait_is_refused():
    with refused(EdgeGroupError, "wait='some': a fan-in waits for 'all', 'active' or 'any'"):
        start().add_fan_in_edges(["a", "b"], "c", wait="some")


def test_a_self_loop_warns_at_the_line_that_builds():
    builder = start().add_edge("a", "a")

    with pytest.warns(SelfLoopWarning, match="edge 'a' -> 'a' is a self-loop: executor 'a' must stop") as caught:
        builder.build()

    assert caught[0].filename == __file__


def test_a_loop_over_two_executors_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start().add_chain(["a", Number(id="b"), "a"]).build()


# Output designation.


def pair(**more):
    return start(**more).add_edge("a", Number(id="b")).add_edge("b", Silent(id="s"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"output_from": ["nobody"]}, "output_from names 'nobody', which is not an executor of this workflow"),
        ({"output_from": [Number(id="b")]}, "which is not an executor of this workflow; give one that was added"),
        ({"output_from": [lambda: Number(id="b")]}, "which is not an executor of this workflow"),
        ({"output_from": ["s"]}, r"'s', which yields no outputs; annotate WorkflowContext\[..., T\]"),
        ({"output_from": ["a", "a"]}, r"names \['a'\] more than once"),
        ({"output_from": []}, "designate no executor; name at least one, or leave both out"),
        ({"intermediate_output_from": []}, "designate no executor"),
        ({"output_from": ["a"], "intermediate_output_from": ["b", "a"]}, r"\['a'\] are in output_from and in"),
        ({"output_from": "all", "intermediate_output_from": "all"}, "keep each in one"),
        ({"output_from": "a"}, "output_from='a': give 'all', or a list"),
        ({"output_from": "all_other"}, "output_from='all_other'"),
        ({"intermediate_output_from": "b"}, "give 'all' or 'all_other', or a list"),
        ({"output_from": Number(id="a")}, r"a list of executors is wanted; write \['a'\]"),
    ],
)
def test_a_wrong_designation_of_outputs_is_refused(given, says):
    with refused(OutputDesignationError, says):
        pair(**given).build()


@pytest.mark.parametrize(
    ("given", "outputs", "intermediates"),
    [
        ({}, {"a", "b"}, set()),
        ({"output_from": "all"}, {"a", "b"}, set()),
        ({"output_from": ["a"]}, {"a"}, set()),
        ({"output_from": ["a"], "intermediate_output_from": "all_other"}, {"a"}, {"b"}),
        ({"intermediate_output_from": "all_other"}, set(), {"a", "b"}),
        ({"intermediate_output_from": ["b"]}, set(), {"b"}),
    ],
)
def test_outputs_are_designated(given, outputs, intermediates):
    definition = pair(**given).build()._core.definition

    assert (definition.outputs, definition.intermediates) == (outputs, intermediates)


def test_outputs_may_be_designated_by_object_and_by_factory():
    first, make = Number(id="a"), lambda: Number(id="b")
    builder = WorkflowBuilder(name="w", start_executor=first, output_from=[first], intermediate_output_from=[make])

    definition = builder.add_edge(first, make).build()._core.definition

    assert (definition.outputs, definition.intermediates) == ({"a"}, {"b"})
