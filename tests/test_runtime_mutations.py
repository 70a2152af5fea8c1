"""R27: take out what the commit path of a run rests on, one thing at a time; for each, a named test of another file fails.

The canonical order, what a commit consists of (joins, timers, restarts, children, states), how a failed save is taken back, what an answer,
a branch and a resume begin with. Another test passes still, so that it is not for some other reason. `test_mutations.py` has
those that only a sweep or many schedules show.
"""

from __future__ import annotations

import importlib
import inspect
from functools import partial
from types import MappingProxyType

import pytest
import trio
import trio.testing

from actorflow import InMemoryCheckpointStorage
from tests.mutating import Mutation

pytestmark = pytest.mark.not_rehydrated(reason="the tests that fail for a mutation fail for what runs keep in memory")

GRAPH = "actorflow.graph"
RUNTIME = "actorflow.runtime"

UNTOUCHED = "test_supersteps.test_the_input_has_no_source_and_a_message_has_one"
"""A test that passes whatever is taken out."""

NOTHING = MappingProxyType({})

TABLE = [
    Mutation("senders go in reverse", f"{GRAPH}.tree_commit.commit_superstep", "for each in finished:", "for each in reversed(finished):", "test_supersteps.test_deliveries_come_in_the_order_of_senders_then_edge_groups_then_targets"),
    Mutation("edge groups go in reverse", f"{GRAPH}.committing.route", "in graph.outgoing.get(source_id, ()):", "in reversed(graph.outgoing.get(source_id, ())):", "test_supersteps.test_edge_groups_of_one_source_go_in_the_order_they_were_declared"),
    Mutation("the earlier writer wins", f"{GRAPH}.tree_commit.commit_superstep", "merge_writes(snapshot.table(STATE), writes, reducers)", "merge_writes(snapshot.table(STATE), writes[::-1], reducers)", "test_state.test_a_delete_and_a_write_of_one_superstep_go_in_canonical_order"),
    Mutation("joins keep what they held", f"{GRAPH}.committing._settle", "_change_joins(changes, snapshot, graph, routing, wakes)", "pass", "test_supersteps.test_an_active_join_does_not_wait_for_a_source_that_can_no_longer_send"),
    Mutation("what joins hold is not let go", f"{GRAPH}.committing._settle", "routing.dropped.extend(drop_joins(graph, snapshot, changes))", "pass", "test_supersteps.test_a_join_whose_source_never_sends_is_reported_when_the_run_ends"),
    Mutation("timers are not committed", f"{GRAPH}.tree_commit.commit_superstep", "if timers:", "if False:", "test_timers.test_timers_fire_by_due_time_and_equal_ones_in_the_order_they_were_sent"),
    Mutation("a timer that fired stays", f"{GRAPH}.committing.fire_due", "changes[TIMERS, each.name] = REMOVED", "pass", "test_timers.test_a_delay_may_be_a_timedelta"),
    Mutation("a deadline overtakes an answer", f"{GRAPH}.committing.fire_due", "id(each) in answered", "False", "test_request_deadlines.test_an_answer_taken_while_a_superstep_runs_is_not_overtaken_by_the_deadline_at_its_commit"),
    Mutation("states are not committed", f"{GRAPH}.committing._change_executors", "changes[EXECUTORS, executor_id] = state", "pass", "test_state.test_an_executors_state_is_restored_in_a_new_process"),
    Mutation("restarts are not committed", f"{RUNTIME}.supervision.Supervision.restart_changes", "if not is_inside(names, gone)", "if False", "test_supervision_recovery.test_s21_restarts_outlive_a_process_over_supersteps"),
    Mutation("attempts are not noted", f"{RUNTIME}.journal.Journal.write", "trials.to_write() if trials else {}", "{}", "test_supervision_recovery.test_s21_a_failed_attempt_is_written_before_its_gap_begins"),
    Mutation("a child is left out", f"{GRAPH}.level.Level._commit_child", "inside(child, level.changes)", "inside(child, {each: value for each, value in level.changes.items() if each[0] != 'state'})", "test_subworkflows.test_an_object_keeps_its_state_from_input_to_input_and_from_run_to_run"),
    Mutation("a child that is over stays", f"{GRAPH}.level.Level._remove", "self.changes[CHILDREN, child] = REMOVED", "pass", "test_subworkflows.test_a_child_that_only_a_lost_request_keeps_is_let_go_and_the_request_is_reported"),
    Mutation("inputs overtake those that wait", f"{GRAPH}.children.Children._start", "for turn, waiting in queue.items():", "for turn, waiting in reversed(queue.items()):", "test_subworkflows.test_children_of_a_factory_work_at_once_up_to_concurrency"),
    Mutation("a request stays when it is answered", f"{RUNTIME}.opening.answer_changes", "(REQUESTS, request.id))] = REMOVED", "(REQUESTS, request.id))] = request", "test_requests.test_answering_one_of_two_leaves_the_other_pending_and_answering_both_none"),
    Mutation("an answer takes the place of what is in flight", f"{RUNTIME}.opening.answer_changes", "(*before, answer)", "(answer,)", "test_requests.test_answering_another_request_takes_up_what_failed_as_well"),
    Mutation("outputs of the run before stay", f"{RUNTIME}.opening._without_outputs", "snapshot.table(OUTPUTS)", "()", "test_checkpoints.test_outputs_of_the_run_before_are_not_in_the_next_ones_checkpoints"),
    Mutation("what a message abandons stays", "actorflow.workflow.fresh_changes", "changes.update(abandoned)", "pass", "test_timers.test_a_fresh_message_abandons_the_timers_and_says_so"),
    Mutation("a branch keeps the ids of its origin", "actorflow.workflow.load_standing", "if is_branch:", "if False:", "test_lineage_tools.test_a_fork_has_the_delivery_ids_of_a_branch_that_a_run_began"),
    Mutation("an explicit checkpoint takes up a journal", "actorflow.workflow.load_standing", "if arguments.checkpoint_id is LATEST:", "if True:", "test_supervision_recovery.test_s21_an_explicit_checkpoint_a_branch_and_a_fresh_message_count_from_the_beginning"),
    Mutation("what finished is done again", f"{RUNTIME}.keeping.Keeping.take_up", "slot.finished = by_delivery.get(id(slot.delivery))", "pass", "test_state.test_earlier_deliveries_of_a_failed_superstep_are_rolled_back_and_not_done_again"),
    Mutation("the parent is not the head", f"{RUNTIME}.recorder.Recorder._adopt", "self.parent_id = saving.info.id", "pass", "test_recovery.test_a_workflow_rebuilt_after_every_superstep_ends_as_one_that_was_not"),
    Mutation("a save that failed is written with the next", f"{RUNTIME}.recorder.Recorder._commit_now", "ledger.back_to(mark)", "pass", "test_durability.test_nothing_of_a_superstep_that_could_not_be_saved_is_in_a_later_checkpoint", {"durability": "superstep", "failing": 2}),
    Mutation("a background save that failed is not taken back", f"{RUNTIME}.recorder.Recorder.abandon_unsaved", "self.standing.snapshot.apply(self._undo, self._undo_superstep)", "pass", "test_durability.test_a_failed_save_fails_the_run_and_the_head_stays", {"durability": "async", "failing": 3}),
    Mutation("executors are not rolled back", f"{RUNTIME}.runner.unwind", "core.states.mark_stale(actors.touched)", "pass", "test_state.test_earlier_deliveries_of_a_failed_superstep_are_rolled_back_and_not_done_again"),
    Mutation("a restore is half done", f"{RUNTIME}.executor_states.ExecutorStates._put_back_one", "await self._undo(before, refusal)", "pass", "test_state.test_a_restore_that_a_hook_refuses_leaves_everything_as_it_was"),
    Mutation("a lost lease goes unnoticed", f"{RUNTIME}.recorder.Recorder._settle", "raise saving.error", "return", "test_run_leases.test_a_save_of_an_overtaken_run_is_refused_by_the_storage"),
    Mutation("a lease is not renewed", f"{RUNTIME}.runner.Runner._body", "nursery.start_soon(self._lease.renew,", "(lambda *_, **__: None)(self._lease.renew,", "test_run_leases.test_a_run_that_cannot_renew_for_a_whole_time_to_live_stops_by_itself"),
]  # fmt: skip


def fails(name, arguments=NOTHING):
    """Whether a test of another file fails; what no argument says of its parameters is the first value of each."""
    module, _, function = name.partition(".")
    test = getattr(importlib.import_module(f"tests.{module}"), function)
    clock = trio.testing.MockClock(autojump_threshold=0)
    known = {"autojump_clock": clock, "storage": InMemoryCheckpointStorage(), "new_storage": InMemoryCheckpointStorage}
    known |= first_parameters(test) | arguments
    bound = {each: known[each] for each in inspect.signature(test).parameters}
    try:
        if inspect.iscoroutinefunction(test):
            trio.run(partial(test, **bound), clock=clock)
        else:
            test(**bound)
    except (Exception, pytest.fail.Exception):  # whatever it is that fails a test
        return True
    return False


def first_parameters(test):
    first = {}
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            names, values = mark.args[:2]
            names = [each.strip() for each in names.split(",")] if isinstance(names, str) else [*names]
            value = next(iter(values))
            value = value.values if hasattr(value, "marks") else value if len(names) > 1 else [value]
            first.update(zip(names, value, strict=True))
    return first


@pytest.mark.parametrize("mutation", TABLE, ids=lambda mutation: mutation.name)
def test_a_test_fails_for_what_is_taken_out(mutation, monkeypatch):
    assert not fails(mutation.caught_by, mutation.arguments)
    mutation.apply(monkeypatch)

    assert fails(mutation.caught_by, mutation.arguments)
    assert not fails(UNTOUCHED)
