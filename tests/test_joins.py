"""Joins fire exactly when they must: over random graphs, against a brute-force walk of what may still happen."""

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from actorflow.core.dispatch import TypeDispatch
from actorflow.core.effects import REMOVED, Delivery, Effects, Finished, PendingRequest, Sent
from actorflow.core.joins import Join, JoinWait, fire_joins
from actorflow.core.snapshot import INFLIGHT, JOINS, REQUESTS, Snapshot
from actorflow.core.timers import Arrival
from actorflow.graph.committing import commit_arrivals, commit_superstep
from actorflow.graph.edges import Edge, FanInEdges
from actorflow.graph.graph import Graph, Node
from actorflow.graph.routing import Routing, join_up, route
from tests.settling import settle

IDS = "abcdef"
ids = st.sampled_from(IDS)
pairs = st.lists(st.tuples(ids, ids), max_size=7)


@st.composite
def join_lists(draw, waits=tuple(JoinWait), min_size=1):
    joins = draw(
        st.lists(
            st.tuples(st.lists(ids, min_size=2, max_size=3, unique=True), ids, st.sampled_from(waits)),
            min_size=min_size,
            max_size=3,
        )
    )
    return [Join(f"{target}#{n}", tuple(sources), target, wait) for n, (sources, target, wait) in enumerate(joins)]


def make_graph(edges, joins):
    nodes = {id_: Node(id_, id_, TypeDispatch([object], ["h"]), (object,), ()) for id_ in IDS}
    groups = [Edge(source, target) for source, target in dict.fromkeys(edges)]
    return Graph("a", nodes, (*groups, *map(FanInEdges, joins)))


def may_run(edges, joins, awake):
    """Every executor that may run from now on, by letting each that may run send along every edge until nothing changes."""
    running = set(awake)
    while True:
        reached = {target for source, target in edges if source in running}
        reached |= {join.target for join in joins if running & set(join.sources)}
        if reached <= running:
            return running
        running |= reached


@st.composite
def boundaries(draw, waits=tuple(JoinWait)):
    """A graph at a superstep boundary: what joins hold, and who is awake."""
    edges, joins = draw(pairs), draw(join_lists(waits))
    held = {}
    for join in joins:
        having = draw(st.lists(st.sampled_from(join.sources), unique=True))
        held[join.id] = {source: (f"{source}{n}",) for n, source in enumerate(having)}
    return edges, joins, held, draw(st.lists(ids, max_size=2))


def fired_ids(edges, joins, held, live):
    return [each.join.id for each in fire_joins(joins, held, live, make_graph(edges, joins).reach)]


@given(boundaries(waits=(JoinWait.ALL, JoinWait.ANY)))
def test_all_and_any_look_at_their_content_alone(boundary):
    edges, joins, held, live = boundary

    expected = [
        join.id
        for join in joins
        if (all if join.wait is JoinWait.ALL else any)(held[join.id].get(source) for source in join.sources)
    ]

    assert fired_ids(edges, joins, held, live) == expected


@given(boundaries())
@example((
    [],
    [
        Join("c#0", ("a", "b"), "c", JoinWait.ACTIVE),
        Join("e#1", ("d", "c"), "e", JoinWait.ACTIVE),
        Join("d#2", ("f", "e"), "d", JoinWait.ACTIVE),
    ],
    {"c#0": {"a": (1,)}, "e#1": {"d": (1,)}, "d#2": {"f": (1,)}},
    [],
))  # fmt: skip
def test_an_active_join_fires_only_if_nothing_in_flight_can_still_reach_a_silent_source(boundary):
    edges, joins, held, live = boundary
    fired = fired_ids(edges, joins, held, live)

    for join in joins:
        silent = [source for source in join.sources if not held[join.id].get(source)]
        if join.wait is not JoinWait.ACTIVE or not held[join.id] or not silent:
            continue
        content = [each.target for each in joins if each.id in fired and each.wait is not JoinWait.ACTIVE]
        complete = [each.target for each in joins if each.id in fired and set(held[each.id]) == set(each.sources)]
        can_be_fed = may_run(edges, joins, [*live, *content, *complete]) & set(silent)
        assert not (can_be_fed and join.id in fired)
        if can_be_fed or join.id in fired:
            continue
        # It may wait all the same, but then only for another join that fired just now.
        others = [each.target for each in joins if each.id in fired]
        assert may_run(edges, joins, [*live, *others]) & set(silent)


@given(boundaries(waits=(JoinWait.ACTIVE,)))
def test_active_joins_wait_for_each_other_in_turn_so_that_one_that_only_takes_comes_after_those_that_give(boundary):
    edges, joins, held, live = boundary
    fired = set(fired_ids(edges, joins, held, live))

    def feeds(one, other):
        silent = set(other.sources) - set(held[other.id])
        return bool(may_run(edges, joins, [one.target]) & silent)

    candidates = [
        join
        for join in joins
        if held[join.id] and not may_run(edges, joins, live) & (set(join.sources) - set(held[join.id]))
    ]
    for join in candidates:
        if join.id not in fired or set(held[join.id]) == set(join.sources):
            continue
        for other in candidates:
            if other is not join and feeds(other, join):
                assert feeds(join, other)


@given(boundaries(waits=(JoinWait.ACTIVE,)))
def test_mutual_active_joins_always_make_progress(boundary):
    edges, joins, held, _ = boundary

    if any(held[join.id] for join in joins):
        assert fired_ids(edges, joins, held, [])


@given(boundaries())
def test_a_firing_has_everything_held_sources_in_declared_order(boundary):
    edges, joins, held, live = boundary

    for firing in fire_joins(joins, held, live, make_graph(edges, joins).reach):
        holds = held[firing.join.id]
        assert firing.source_ids == tuple(source for source in firing.join.sources if source in holds)
        assert firing.values == list(itertools.chain.from_iterable(holds[source] for source in firing.source_ids))


@given(join_lists(), st.lists(st.lists(st.tuples(ids, st.integers(0, 9)), max_size=4), max_size=4), st.data())
def test_grouping_does_not_depend_on_which_source_was_first_within_a_superstep(joins, supersteps, data):
    """F16."""
    graph = make_graph([], joins)

    def run(arrange):
        held, lists = {}, []
        for arrivals in supersteps:
            routing = Routing()
            for source, value in arrange(arrivals):
                settle(route(graph, source, Sent(value), routing))
            held.update(join_up(graph, held, routing, ()))
            lists.append([(each.target_id, each.value, each.source_ids) for each in routing.deliveries])
        return lists

    def shuffled_between_sources(arrivals):
        by_source = {}
        for source, value in arrivals:
            by_source.setdefault(source, []).append((source, value))
        order = data.draw(st.permutations(sorted(by_source)))
        return [each for source in order for each in by_source[source]]

    assert run(lambda arrivals: arrivals) == run(shuffled_between_sources)


@st.composite
def delayed_histories(draw):
    """A random graph, and a script of who sends what to whom how late, each executor at its first few deliveries."""
    edges, joins = draw(pairs), draw(join_lists(waits=(JoinWait.ACTIVE,)))
    targets = {}
    for source, target in dict.fromkeys(edges):
        targets.setdefault(source, []).append(target)
    for join in joins:
        for source in join.sources:
            targets.setdefault(source, []).append(join.target)
    script = {
        source: draw(
            st.lists(st.lists(st.tuples(st.sampled_from(to), st.sampled_from([0, 0, 1, 2])), max_size=2), max_size=3)
        )
        for source, to in targets.items()
    }
    asks = draw(st.lists(ids, max_size=1))
    return edges, joins, script, draw(st.lists(ids, min_size=1, max_size=3)), asks


def can_reach(graph, edges, joins, snapshot, changes):
    """Executors that may still run, walked from every delivery, timer and open request there is, one by one."""
    now = Snapshot({table: dict(values) for table, values in snapshot.tables.items()})
    now.apply(changes)
    awake = [each.target_id for each in now.inflight] + [each.executor_id for each in now.requests.values()]
    coming = set()
    for timer in now.timers.values():
        if isinstance(timer.what, Arrival):
            coming.add((timer.what.join_id, timer.what.source_id))
            awake += [join.target for join in joins if join.id == timer.what.join_id]
        else:
            awake.append(timer.what.target_id)
    return now, may_run(edges, joins, awake), coming


@settings(max_examples=300)
@given(delayed_histories(), st.randoms(use_true_random=False))
def test_with_delays_an_active_join_fires_if_and_only_if_nothing_in_flight_can_reach_a_silent_source(history, random):
    """Over whole histories: after every commit, of a superstep or of what came due, each join that still holds something
    could still be fed by something that is in flight; and each that fired a part could not have been fed by anything but
    what joins firing beside it woke.

    And P4: the order in which a superstep's executors finished shows nowhere, as nothing but the canonical order is looked at.
    """
    edges, joins, script, starts, asks = history
    graph = make_graph(edges, joins)
    snapshot, turns, now = Snapshot(), {}, 0.0
    snapshot.apply({INFLIGHT: tuple(Delivery(start, 0) for start in starts)})
    snapshot.apply({(REQUESTS, id_): PendingRequest(id_, id_, 0, int, 5.0, 5.0) for id_ in asks})

    def handled(delivery):
        turn = turns[delivery.target_id] = turns.get(delivery.target_id, -1) + 1
        sends = script.get(delivery.target_id, [])
        aims = sends[turn] if turn < len(sends) else ()
        sent = [Sent((delivery.target_id, turn), target, float(delay)) for target, delay in aims]
        return Finished(delivery, Effects(sent), {}, REMOVED)

    for superstep in range(1, 60):
        if snapshot.inflight:
            done = [handled(each) for each in snapshot.inflight]
            now += random.choice([0.0, 0.5, 3.0])
            result = settle(commit_superstep(graph, snapshot, done, superstep, reducers={}, now=now))
            again = settle(commit_superstep(graph, snapshot, done, superstep, reducers={}, now=now))
            assert again.changes == result.changes
        elif snapshot.schedule.next_due() is not None:
            now = max(now, snapshot.schedule.next_due())
            result = commit_arrivals(graph, snapshot, now)
        else:
            break
        after, running, coming = can_reach(graph, edges, joins, snapshot, result.changes)
        fired = [each for each in after.inflight if isinstance(each.value, list)]
        for join in joins:
            held = after.table(JOINS).get(join.id, {})
            if held:
                silent = set(join.silent(held))
                assert silent
                assert silent & running or {(join.id, source) for source in silent} & coming
        for firing in fired:
            (join, *others) = [each for each in joins if each.target == firing.target_id]
            silent = set(join.sources) - set(firing.source_ids)
            if others or not silent:
                continue
            assert not {(join.id, source) for source in silent} & coming
            rest = [each.target_id for each in after.inflight if not isinstance(each.value, list)]
            rest += [each.executor_id for each in after.requests.values()]
            rest += [timer.what.target_id for timer in after.timers.values() if isinstance(timer.what, Delivery)]
            assert not may_run(edges, joins, rest) & silent
        snapshot.apply(result.changes, superstep if snapshot.inflight else None)
    if not snapshot.inflight and snapshot.schedule.next_due() is None:
        assert not any(snapshot.table(JOINS).values())


def test_a_message_on_its_way_to_a_join_counts_for_its_source_and_for_what_the_join_will_wake():
    fed = Join("c#0", ("a", "b"), "c", JoinWait.ACTIVE)
    next_ = Join("d#1", ("a", "c"), "d", JoinWait.ACTIVE)
    other = Join("e#2", ("a", "b"), "e", JoinWait.ACTIVE)
    graph = make_graph([], [fed, next_, other])
    held = {join.id: {"a": (1,)} for join in (fed, next_, other)}

    def fired(coming):
        return [each.join.id for each in fire_joins([fed, next_, other], held, [], graph.reach, coming)]

    assert fired({("c#0", "b")}) == ["e#2"]  # b has sent to the first join, and to that one alone
    assert fired({("c#0", "a")}) == ["c#0", "e#2"]  # what comes is from one that has sent already
    assert fired(()) == ["c#0", "e#2"]


def test_an_open_request_holds_an_active_join_back():
    join = Join("c#0", ("a", "b"), "c", JoinWait.ACTIVE)
    graph = make_graph([("d", "b")], [join])
    held = {"c#0": {"a": (1,)}}

    assert fire_joins([join], held, ["d"], graph.reach) == []
    assert [firing.values for firing in fire_joins([join], held, ["e"], graph.reach)] == [[1]]


def test_a_join_that_holds_nothing_never_fires():
    for wait in JoinWait:
        join = Join("c#0", ("a", "b"), "c", wait)
        for held in ({}, {"c#0": {}}, {"c#0": {"a": ()}}):
            assert fire_joins([join], held, [], make_graph([], [join]).reach) == []


def test_of_joins_that_wait_for_a_cycle_the_cycle_goes_first_whatever_was_declared_first():
    fed = Join("f#0", ("a", "c"), "f", JoinWait.ACTIVE)
    one = Join("c#1", ("b", "d"), "c", JoinWait.ACTIVE)
    two = Join("d#2", ("b", "c"), "d", JoinWait.ACTIVE)
    held = {"f#0": {"a": (1,)}, "c#1": {"b": (1,)}, "d#2": {"b": (1,)}}

    fired = fire_joins([fed, one, two], held, [], make_graph([], [fed, one, two]).reach)

    assert [each.join.id for each in fired] == ["c#1"]
