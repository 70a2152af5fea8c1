"""The graph signature changes with what decides routing and with nothing else (F42)."""

import dataclasses
import operator
import os
import subprocess
import sys
import textwrap
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path

import attrs
import pytest

import actorflow
from actorflow import Case, Default, Executor, WorkflowBuilder, WorkflowContext, executor, handler
from actorflow.graph.signature import callable_identity


class Node(Executor):
    @handler
    async def take(self, message: int, ctx: WorkflowContext[int]) -> None: ...


class Gather(Executor):
    @handler
    async def take(self, message: list[int], ctx: WorkflowContext[int]) -> None: ...


class Colour(Enum):
    RED = 1
    BLUE = 2


@attrs.frozen
class Limit:
    value: int


@dataclasses.dataclass(frozen=True)
class OldLimit:
    value: int


@attrs.define
class Router:
    limit: Limit
    seen: int = 0

    def above(self, message):
        return message > self.limit.value


@attrs.frozen
class FrozenRouter:
    limit: int

    def above(self, message):
        return message > self.limit

    def __call__(self, message):
        return message > self.limit


def start(**more):
    return WorkflowBuilder(name="w", start_executor=Node(id="a"), **more)


def signature(builder):
    return builder.build().graph_signature


def edge_signature(condition):
    return signature(start().add_edge("a", Node(id="b"), condition))


def above(limit):
    def check(message):
        return message > limit

    return check


def lambda_above(limit):
    return lambda message: message > limit


def wrapping(inner):
    return lambda message: not inner(message)


def is_a(kind):
    return lambda message: isinstance(message, kind)


def with_default(limit):
    return lambda message, *, limit=limit: message > limit


DIFFERENT = [
    (None, lambda m: True),
    (lambda m: m > 1, lambda m: m > 2),
    (lambda m: m.x, lambda m: m.y),
    (lambda m: m in {1, 2}, lambda m: m in {1, 3}),
    (lambda m: any(e > 1 for e in m), lambda m: any(e > 2 for e in m)),
    (lambda_above(1), lambda_above(2)),
    (lambda_above(1), lambda_above(True)),
    (lambda_above(Colour.RED), lambda_above(Colour.BLUE)),
    (lambda_above(Limit(1)), lambda_above(Limit(2))),
    (lambda_above(OldLimit(1)), lambda_above(OldLimit(2))),
    (lambda_above(Decimal(1)), lambda_above(Decimal(2))),
    (lambda_above({"a": 1}), lambda_above({"a": 2})),
    (lambda_above([1, (2, {3})]), lambda_above([1, (2, {4})])),
    (with_default(1), with_default(2)),
    (is_a(int), is_a(str)),
    (is_a(list[int]), is_a(list[str])),
    (is_a(int | str), is_a(int | bytes)),
    (wrapping(lambda m: m > 1), wrapping(lambda m: m > 2)),
    (wrapping(above(1)), wrapping(above(2))),
    (above(1), above(2)),
    (above(1), lambda_above(1)),
    (partial(operator.lt, 1), partial(operator.lt, 2)),
    (partial(operator.lt, 1), partial(operator.gt, 1)),
    (partial(above, limit=1), partial(above, limit=2)),
    (operator.attrgetter("a"), operator.attrgetter("b")),
    (operator.itemgetter(1), operator.itemgetter(2)),
    (FrozenRouter(1).above, FrozenRouter(2).above),
    (FrozenRouter(1), FrozenRouter(2)),
    (bool, callable),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_conditions_that_decide_differently_give_different_signatures(one, other):
    assert edge_signature(one) != edge_signature(other)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lambda m: m in {"one", "two", "three"},
        lambda: lambda_above({"one", "two", "three"}),
        lambda: lambda_above({"b": 1, "a": 2}),
        lambda: above(Limit(1)),
        lambda: wrapping(above(1)),
        lambda: partial(above, limit=1),
        lambda: FrozenRouter(1).above,
        lambda: Router(Limit(1)).above,
        lambda: object().__eq__,
    ],
)
def test_the_same_condition_made_again_gives_the_same_signature(make):
    assert edge_signature(make()) == edge_signature(make())


def test_a_lambda_that_has_run_often_is_still_the_same():
    condition = lambda_above(3)
    before = callable_identity(condition)

    for number in range(5000):
        condition(number)

    assert callable_identity(condition) == before


def test_what_an_object_counts_while_it_works_is_not_part_of_the_condition():
    router = Router(Limit(1))
    before = callable_identity(router.above)

    router.seen += 1

    assert callable_identity(router.above) == before


def test_functions_that_capture_themselves_and_values_that_contain_themselves_have_an_identity():
    def countdown(message):
        return message <= 0 or countdown(message - 1)

    endless = []
    endless.append(endless)

    assert callable_identity(countdown) == callable_identity(countdown)
    assert callable_identity(lambda_above(endless)) == callable_identity(lambda_above(endless))


def test_a_function_whose_captured_name_is_not_assigned_yet_has_an_identity():
    early = callable_identity(lambda message: later)
    later = 1

    assert early != callable_identity(lambda message: later)


def test_the_body_and_place_of_a_named_function_do_not_matter():
    def make():
        def check(message):
            return False

        return check

    def check(message):
        return True

    assert edge_signature(make()) == edge_signature(check)


def switch(*cases):
    arms = [Case(condition, target) for condition, target in cases]
    return signature(
        start()
        .add_switch_case_edge_group("a", [*arms, Default(Node(id="z"))])
        .add_fan_out_edges("z", [Node(id="b"), Node(id="c")])
    )


def test_the_order_of_switch_cases_matters():
    first, second = (above(1), "b"), (above(2), "c")

    assert switch(first, second) != switch(second, first)
    assert switch(first, second) == switch(first, second)


def test_the_order_of_edges_matters_and_the_order_of_adding_executors_does_not():
    ab_then_ac = signature(start().add_edge("a", Node(id="b")).add_edge("a", Node(id="c")))
    ac_then_ab = signature(start().add_edge("a", Node(id="c")).add_edge("a", Node(id="b")))
    c_added_first = start()
    c_added_first._add(Node(id="c"))
    c_added_first.add_edge("a", Node(id="b")).add_edge("a", "c")

    assert ab_then_ac != ac_then_ab
    assert signature(c_added_first) == ab_then_ac


def joined(wait, sources=("b", "c")):
    return signature(
        start()
        .add_fan_out_edges("a", [Node(id="b"), Node(id="c")])
        .add_fan_in_edges(sources, Gather(id="d"), wait=wait)
    )


def test_what_a_join_waits_for_and_the_order_of_its_sources_matter():
    assert len({joined("all"), joined("any"), joined("active"), joined("all", ("c", "b"))}) == 4


def test_fan_out_selection_and_single_edges_differ():
    def both():
        return [Node(id="b"), Node(id="c")]

    signatures = {
        signature(start().add_fan_out_edges("a", both())),
        signature(start().add_multi_selection_edge_group("a", both(), lambda m, ids: ids)),
        signature(start().add_multi_selection_edge_group("a", both(), lambda m, ids: ids[:1])),
        signature(start().add_edge("a", Node(id="b")).add_edge("a", Node(id="c"))),
    }

    assert len(signatures) == 4


def test_the_start_the_ids_and_the_handled_types_matter():
    class Text(Executor):
        type_name = "Node"

        @handler
        async def take(self, message: int | str, ctx: WorkflowContext[int]) -> None: ...

    class Node2(Executor):
        type_name = "Node"

        @handler
        async def take(self, message: int, ctx: WorkflowContext[int]) -> None: ...

    def alone(node):
        return signature(WorkflowBuilder(name="w", start_executor=node))

    def pair(first):
        return signature(
            WorkflowBuilder(name="w", start_executor=first).add_edge("a", Node(id="b")).add_edge("b", Node(id="a"))
        )

    assert len({alone(Node(id="a")), alone(Node(id="b")), alone(Text(id="a"))}) == 3
    assert alone(Node(id="a")) == alone(Node2(id="a"))
    with_start_a = WorkflowBuilder(name="w", start_executor="a").add_chain([Node(id="a"), Node(id="b"), "a"])
    with_start_b = WorkflowBuilder(name="w", start_executor="b").add_chain([Node(id="a"), Node(id="b"), "a"])
    assert signature(with_start_a) != signature(with_start_b)


def test_names_limits_storage_and_outputs_do_not_matter():
    class Tells(Executor):
        @handler
        async def take(self, message: int, ctx: WorkflowContext[int, int]) -> None: ...

    def make(**more):
        return signature(WorkflowBuilder(start_executor=Tells(id="a"), **more).add_edge("a", Tells(id="b")))

    plain = make(name="w")
    assert plain == make(name="other", max_supersteps=3, description="d", strict=True)
    assert plain == make(name="w", output_from=["b"], checkpoint_storage=actorflow.InMemoryCheckpointStorage())


def test_function_executors_differ_by_name_and_by_what_they_take():
    @executor(id="a")
    async def one(message: int) -> None: ...

    @executor(id="a")
    async def two(message: int) -> None: ...

    def make_one():
        @executor(id="a")
        async def one(message: str) -> None: ...

        return one

    def alone(node):
        return signature(WorkflowBuilder(name="w", start_executor=node))

    assert len({alone(one), alone(two), alone(make_one())}) == 3


def test_renaming_a_class_that_sets_its_type_name_keeps_the_signature_and_one_that_does_not_changes_it():
    def make(name, **body):
        async def take(self, message: int, ctx: WorkflowContext) -> None: ...

        kind = type(name, (Executor,), {"take": handler(take), **body})
        return signature(WorkflowBuilder(name="w", start_executor=kind(id="a")))

    assert make("Old") != make("New")
    assert make("Old", type_name="Stable") == make("New", type_name="Stable")


PROGRAM = textwrap.dedent("""
    from actorflow import Case, Default, Executor, WorkflowBuilder, WorkflowContext, handler

    class Message: ...
    class Node(Executor):
        @handler
        async def take(self, message: Message | str | int, ctx: WorkflowContext[str | Message]) -> None: ...

    words = {"one", "two", "three"}
    options = {"b": {1, 2}, "a": frozenset("xyz")}
    builder = (
        WorkflowBuilder(name="w", start_executor=Node(id="a"))
        .add_edge("a", Node(id="b"), lambda m: m in {"x", "y", "z"})
        .add_switch_case_edge_group("b", [Case(lambda m, w=words: m in w, Node(id="c")), Default(Node(id="d"))])
        .add_multi_selection_edge_group("c", [Node(id="e"), Node(id="f")], lambda m, ids, o=options: o)
    )
    print(builder.build().graph_signature)
""")


def test_the_signature_is_the_same_in_every_process_and_for_every_hash_seed_and_module(tmp_path):
    """F42."""
    root = str(Path(actorflow.__file__).parent.parent)
    answers = set()
    for seed, name in (("0", "one.py"), ("1", "another.py"), ("4242", "one.py")):
        script = tmp_path / name
        script.write_text(PROGRAM if name == "one.py" else "\n\n# moved\n" + PROGRAM)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
        answers.add(subprocess.run([sys.executable, script], env=environment, capture_output=True, check=True).stdout)

    assert len(answers) == 1
