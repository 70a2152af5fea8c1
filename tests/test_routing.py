"""Routing: where messages go and in which order, against a slow reference; conditions, selections, switches, targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.core.dispatch import TypeDispatch
from actorflow.core.effects import Delivery, Sent
from actorflow.core.joins import Join, JoinWait
from actorflow.graph.edges import Edge, FanInEdges, FanOutEdges, MultiSelectionEdges, SwitchCaseEdges
from actorflow.graph.graph import Graph, Node
from actorflow.graph.routing import Dropped, Routing, join_up, route, route_straight
from actorflow.policy import ExecutorFailure
from tests.settling import settle

IDS = "abcd"


def node(id_, takes=object):
    return Node(id_, id_, TypeDispatch([takes], ["handler"]), (object,), ())


def make_graph(*groups, **takes):
    return Graph("a", {id_: node(id_, takes.get(id_, object)) for id_ in IDS}, groups)


def fan_in(*sources, target, wait="all", number=0):
    return FanInEdges(Join(f"{target}#{number}", sources, target, JoinWait(wait)))


def routed(graph, source, *sent):
    routing = Routing()
    for each in sent:
        settle(route(graph, source, each if isinstance(each, Sent) else Sent(each), routing))
    return routing


def targets_of(routing):
    return [delivery.target_id for delivery in routing.deliveries]


def remainder(modulus, wanted):
    return lambda value: value % modulus == wanted


ids = st.sampled_from(IDS)
several = st.lists(ids, min_size=2, max_size=4, unique=True).map(tuple)
conditions = st.builds(remainder, st.integers(1, 3), st.integers(0, 2))
groups = st.one_of(
    st.builds(Edge, ids, ids, st.none() | conditions),
    st.builds(FanOutEdges, ids, several),
    st.builds(
        MultiSelectionEdges,
        ids,
        several,
        st.builds(
            lambda n: lambda value, among: [each for each in reversed(among) if (value + ord(each)) % n],
            st.integers(1, 3),
        ),
    ),
    st.builds(SwitchCaseEdges, ids, st.lists(st.tuples(conditions, ids), min_size=1, max_size=3).map(tuple), ids),
)
messages = st.lists(
    st.tuples(ids, st.lists(st.builds(Sent, st.integers(0, 9), st.none() | ids), max_size=3)), max_size=4
)


def allowed(group, value):
    """The targets of a group for a message, worked out the slow way."""
    if isinstance(group, Edge):
        return [group.target] if group.condition is None or group.condition(value) else []
    if isinstance(group, FanOutEdges):
        return list(group.targets)
    if isinstance(group, MultiSelectionEdges):
        return [each for each in group.targets if each in group.selection(value, list(group.targets))]
    return [next((target for condition, target in group.cases if condition(value)), group.default)]


def reference(all_groups, sent_by_delivery):
    """Everything with its place in the canonical order, then sorted by that place."""
    placed = []
    for delivery, (source, all_sent) in enumerate(sent_by_delivery):
        for message, sent in enumerate(all_sent):
            for group_number, group in enumerate(all_groups):
                if group.source != source:
                    continue
                for target in allowed(group, sent.value):
                    if sent.target_id in (None, target):
                        place = (delivery, message, group_number, group.targets.index(target))
                        placed.append((place, Delivery(target, sent.value, (source,))))
    return [delivery for _, delivery in sorted(placed, key=lambda each: each[0])]


@given(st.lists(groups, max_size=5), messages)
def test_deliveries_come_in_the_canonical_order_of_the_reference(all_groups, sent_by_delivery):
    graph, routing = make_graph(*all_groups), Routing()

    for source, all_sent in sent_by_delivery:
        for sent in all_sent:
            settle(route(graph, source, sent, routing))

    assert routing.deliveries == reference(all_groups, sent_by_delivery)


@given(st.lists(groups, max_size=3), messages)
def test_the_straight_way_leads_where_the_long_one_does(all_groups, sent_by_delivery):
    graph, short, long = make_graph(*all_groups, b=int), Routing(), Routing()

    for source, all_sent in sent_by_delivery:
        for sent in all_sent:
            settle(route(graph, source, sent, long))
            if not route_straight(graph, source, sent, short):
                settle(route(graph, source, sent, short))

    assert (short.deliveries, short.dropped) == (long.deliveries, long.dropped)


@pytest.mark.parametrize(
    ("group", "sent", "is_straight"),
    [
        (Edge("a", "b"), Sent(1), True),
        (Edge("a", "b"), Sent(1, "b"), False),
        (Edge("a", "b"), Sent("text"), False),
        (Edge("a", "b", lambda value: True), Sent(1), False),
        (FanOutEdges("a", ("b", "c")), Sent(1), False),
        (Edge("a", "d"), Sent(ExecutorFailure("x", "E", "", None, 1)), False),
    ],
)
def test_a_message_goes_straight_where_nobody_has_to_be_asked(group, sent, is_straight):
    graph, routing = make_graph(group, b=int), Routing()

    assert route_straight(graph, "a", sent, routing) is is_straight
    assert targets_of(routing) == (["b"] if is_straight else [])
    assert not routing.dropped


@given(st.lists(groups, max_size=5), messages)
def test_each_message_is_delivered_or_dropped_once(all_groups, sent_by_delivery):
    graph = make_graph(*all_groups)

    for source, all_sent in sent_by_delivery:
        for sent in all_sent:
            routing = routed(graph, source, sent)
            assert bool(routing.deliveries) != (len(routing.dropped) == 1)
            assert len(routing.dropped) <= 1


@pytest.mark.parametrize(
    ("group", "takes", "sent", "expected"),
    [
        (Edge("b", "c"), object, 1, Dropped("no_edge", 1, "a", None)),
        (Edge("a", "c"), object, Sent(1, "nobody"), Dropped("no_such_target", 1, "a", "nobody")),
        (Edge("a", "c"), object, Sent(1, "b"), Dropped("no_edge", 1, "a", "b")),
        (Edge("a", "c"), str, 1, Dropped("type", 1, "a", "c")),
        (Edge("a", "c", lambda value: False), object, 1, Dropped("condition", 1, "a", "c")),
        (MultiSelectionEdges("a", ("b", "c"), lambda *_: []), object, 1, Dropped("condition", 1, "a", None)),
    ],
)
def test_a_message_that_nothing_took_says_why(group, takes, sent, expected):
    """F20."""
    assert routed(make_graph(group, c=takes), "a", sent).dropped == [expected]


def test_a_message_that_one_target_refuses_and_another_takes_is_not_dropped():
    routing = routed(make_graph(FanOutEdges("a", ("b", "c")), b=str), "a", 1)

    assert targets_of(routing) == ["c"]
    assert routing.dropped == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (["d", "b"], ["b", "d"]),
        ("c", ["c"]),
        (["c", "c"], ["c"]),
        ({"d", "c"}, ["c", "d"]),
        ((), []),
        (iter("bd"), ["b", "d"]),
    ],
)
def test_a_selection_may_answer_in_any_order_and_delivers_in_declared_order(answer, expected):
    graph = make_graph(MultiSelectionEdges("a", ("b", "c", "d"), lambda value, among: answer))

    assert targets_of(routed(graph, "a", 1)) == expected


def test_a_selection_gets_the_target_ids_and_may_do_with_the_list_as_it_likes():
    def selection(value, among):
        among.remove("b")
        return among

    graph = make_graph(MultiSelectionEdges("a", ("b", "c"), selection))

    assert targets_of(routed(graph, "a", 1, 2)) == ["c", "c"]


@pytest.mark.parametrize("answer", [["nobody"], ["b", "nobody"], "nobody", [1]])
def test_a_selection_that_names_a_stranger_is_an_error_that_names_the_group(answer):
    graph = make_graph(MultiSelectionEdges("a", ("b", "c"), lambda value, among: answer))

    with pytest.raises(ValueError, match=r"it may return \['b', 'c'\]") as caught:
        routed(graph, "a", 1)

    assert "selection 'a' -> ['b', 'c']" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "group",
    [
        Edge("a", "b", lambda value: value / 0),
        SwitchCaseEdges("a", ((lambda value: value / 0, "b"),), "c"),
        MultiSelectionEdges("a", ("b", "c"), lambda value, among: value / 0),
    ],
)
def test_a_condition_that_raises_comes_out_as_itself_and_names_the_edge(group):
    """F21: never "no match", wherever the condition stands."""
    with pytest.raises(ZeroDivisionError) as caught:
        routed(make_graph(group), "a", 1)

    assert str(group) in caught.value.__notes__[0]


def test_a_switch_asks_in_order_and_no_further_than_the_first_case_that_holds():
    asked = []

    def asks(name, answer):
        return lambda value: asked.append(name) or answer

    switch = SwitchCaseEdges("a", ((asks(1, 0), "b"), (asks(2, "yes"), "c"), (asks(3, 1), "d")), "d")

    assert targets_of(routed(make_graph(switch), "a", "x")) == ["c"]
    assert asked == [1, 2]


def test_a_targeted_message_that_a_switch_sends_elsewhere_is_dropped():
    switch = SwitchCaseEdges("a", ((lambda value: True, "b"),), "c")

    assert routed(make_graph(switch), "a", Sent(1, "c")).dropped == [Dropped("condition", 1, "a", "c")]
    assert targets_of(routed(make_graph(switch), "a", Sent(1, "b"))) == ["b"]


def test_conditions_of_edges_that_a_targeted_message_does_not_concern_are_not_asked():
    graph = make_graph(Edge("a", "b", lambda value: value / 0), Edge("a", "c"))

    assert targets_of(routed(graph, "a", Sent(1, "c"))) == ["c"]


def test_an_awaitable_answer_is_handed_to_the_driver():
    async def condition(value):
        raise AssertionError("unreachable")

    waiting = condition(1)
    asking = route(make_graph(Edge("a", "b", lambda value: waiting)), "a", Sent(1), routing := Routing())

    assert next(asking) is waiting
    with pytest.raises(StopIteration):
        asking.send(True)
    assert targets_of(routing) == ["b"]
    with pytest.raises(TypeError):
        settle(route(make_graph(Edge("a", "b", lambda value: waiting)), "a", Sent(1), Routing()))
    waiting.close()


def test_a_join_gets_what_any_edge_to_its_target_would_and_targeted_messages_too():
    graph = make_graph(fan_in("a", "b", target="c"), Edge("a", "d"))

    routing = routed(graph, "a", 1, Sent(2, "c"), Sent(3, "d"))

    assert routing.arrivals == {"c#0": {"a": [1, 2]}}
    assert [(each.target_id, each.value) for each in routing.deliveries] == [("d", 1), ("d", 3)]


def test_lists_of_joins_are_delivered_after_the_plain_messages():
    graph = make_graph(fan_in("a", "b", target="d"), Edge("a", "c"), Edge("b", "c"))
    routing = Routing()
    for source in "ba":
        settle(route(graph, source, Sent(source), routing))

    changed = join_up(graph, {}, routing, ())

    assert [(each.target_id, each.value) for each in routing.deliveries] == [("c", "b"), ("c", "a"), ("d", ["a", "b"])]
    assert routing.deliveries[-1].source_ids == ("a", "b")
    assert changed == {"d#0": {}}


def test_a_list_that_the_target_of_a_join_cannot_take_is_dropped_with_the_reason():
    graph = make_graph(fan_in("a", "b", target="d"), d=list[str])
    routing = routed(graph, "a", 1)
    settle(route(graph, "b", Sent("x"), routing))

    changed = join_up(graph, {}, routing, ())

    assert routing.dropped == [Dropped("type", [1, "x"], None, "d")]
    assert changed == {"d#0": {}}


def test_what_a_join_holds_is_added_to_and_never_changed_in_place():
    graph = make_graph(fan_in("a", "b", target="d"))
    held = {"d#0": {"a": (1,)}}

    changed = join_up(graph, held, routed(graph, "a", 2), ())

    assert changed == {"d#0": {"a": (1, 2)}}
    assert held == {"d#0": {"a": (1,)}}
