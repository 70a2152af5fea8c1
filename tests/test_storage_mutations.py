"""R27: take out what a storage's durability rests on, one thing at a time, in each storage; for each, a named clause fails.

The fence, the parent check, the sequence, the drop of the journal, the growth of the epoch, the digest chain, and what makes a write
whole: in Python where Python decides, in SQL where that does. Another clause passes still, so that it is not for some other reason.
"""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from actorflow import InMemoryCheckpointStorage, PostgresCheckpointStorage, SqliteCheckpointStorage
from actorflow.errors import CheckpointError, LeaseHeldError, LeaseLostError
from actorflow.testing import StorageConformance
from actorflow.testing.storage_conformance import make_commit
from tests.mutating import Mutation
from tests.postgres import fresh_database

RULES = "actorflow.checkpoint.commit_rules"
RULES_OF_LEASES = "actorflow.checkpoint.lease_rules"
MEMORY = "actorflow.checkpoint.memory"
SQLITE = "actorflow.checkpoint.sqlite"
POSTGRES = "actorflow.checkpoint.postgres"

UNTOUCHED = "test_ids_may_be_any_text"
"""A clause that passes whatever is taken out."""

FORGED = "test_a_forged_lease_is_refused"
OVERTAKEN = "test_who_was_overtaken_writes_nothing"
WAITS = "test_who_has_no_lease_waits_for_the_one_who_has"
RACE = "test_of_many_that_race_for_a_lease_one_gets_it"
EPOCHS = "test_epochs_grow_over_everything"
HARMS = "test_releasing_what_is_lost_harms_nobody"
AGAIN = "test_an_owner_that_acquires_again_loses_its_earlier_grant"
PARENT = "test_an_unknown_parent_is_refused"
DELTA = "test_a_delta_needs_a_parent_of_its_own_workflow_id"
TAKEN = "test_an_id_taken_by_another_checkpoint_is_refused"
RETRY = "test_saving_the_same_again_changes_nothing"
COUNTS = "test_sequences_of_a_workflow_id_count_from_one"
LATEST = "test_the_latest_is_the_last_written_whatever_its_time_of_day"
ENDS = "test_a_save_ends_the_journal_of_its_workflow_id"
FIRST = "test_the_first_entry_of_a_place_stays"
ASKED = "test_only_the_superstep_that_was_asked_for_is_read"
AMONG = "test_a_journal_refused_among_many_leaves_nothing"
WHOLE = "test_a_journal_is_written_whole_or_not_at_all"
FOLLOWS = "test_what_a_running_superstep_follows_stays"
DELETED = "test_deleting_a_checkpoint_ends_the_journal_that_follows_it"
CHAINS = "test_a_digest_seals_a_checkpoint_and_chains_to_its_parent"
KEEPS = "test_a_prune_keeps_the_digests_of_what_stays"
SOUND = "test_a_storage_finds_itself_sound"
LEAVES = "test_only_leaves_can_be_deleted"
REPLAY = "test_loading_equals_replaying"
ALONE = "test_one_bad_save_among_many_fails_alone"
LEFT = "test_what_a_prune_leaves_is_what_it_was"
LIVE = "test_a_lease_that_is_not_renewed_can_be_overtaken"


def shared(kind):
    """What the storages have in common, where this one looks it up."""
    leases = RULES_OF_LEASES if kind == "sqlite" else f"actorflow.checkpoint.{kind}.leases"
    return (
        Mutation("any lease writes", f"{leases}.check_writer", "check_current(lease, holding)", "pass", FORGED),
        Mutation("no lease is needed", f"{leases}.check_writer", "if is_live(holding, now):", "if False:", WAITS),
        Mutation("an epoch is not compared", f"{RULES_OF_LEASES}.check_current", "current.epoch, current.owner) == (lease.epoch, lease.owner", "current.owner,) == (lease.owner,", AGAIN),
        Mutation("a lease never ends", f"{RULES_OF_LEASES}.is_live", "now < holding.expires <= now + 2 * holding.lease.ttl and ", "", LIVE),
        Mutation("any parent will do", f"{RULES}.check_parent", "if parent_workflow_id is None:", "if False:", PARENT),
        Mutation("a delta stands on anything", f"{RULES}.check_parent", "if not commit.full and", "if False and", DELTA),
        Mutation("an id is given twice", f"{RULES}.check_same", "if (parent_id,", "if False and (parent_id,", TAKEN),
    )  # fmt: skip


IN_MEMORY = (
    Mutation("a save is not fenced", f"{MEMORY}.storage.InMemoryCheckpointStorage.save", "self._leases.check_may_write(commit.info.workflow_id, commit.lease, wall_time())", "False", FORGED),
    Mutation("a journal is not fenced", f"{MEMORY}.storage.InMemoryCheckpointStorage.write_journal", "if self._leases.check_may_write(name, lease, wall_time())", "if False", OVERTAKEN),
    Mutation("a lease is granted twice", f"{MEMORY}.leases.Leases.acquire", "check_free(self._holdings.get(workflow_id), owner, now)", "pass", RACE),
    Mutation("an epoch comes again", f"{MEMORY}.leases.Leases.acquire", "self._epoch += 1", "self._epoch = len(self._holdings) + 1", EPOCHS),
    Mutation("anybody releases", f"{MEMORY}.leases.Leases.release", "(holding.lease.epoch, holding.lease.owner) == (lease.epoch, lease.owner)", "True", HARMS),
    Mutation("an overtaken lease stays", f"{MEMORY}.storage.InMemoryCheckpointStorage.save", "if overtakes:", "if False:", "test_who_has_no_lease_overtakes_one_that_expired"),
    Mutation("the sequence counts all", f"{MEMORY}.storage.InMemoryCheckpointStorage._insert", "_newest(siblings).info.sequence + 1 if siblings else 1", "self._position + 1", COUNTS),
    Mutation("the journal is not dropped", f"{MEMORY}.storage.InMemoryCheckpointStorage._insert", "self._journal.drop_of_workflow(info.workflow_id)", "pass", ENDS),
    Mutation("a later entry wins", f"{MEMORY}.journal.Journal.write", ".setdefault((entry.checkpoint_id, entry.index), entry)", ".update({(entry.checkpoint_id, entry.index): entry})", FIRST),
    Mutation("half a journal is written", f"{MEMORY}.storage.InMemoryCheckpointStorage.write_journal", "names = {", "self._journal.write(entries[:1]); names = {", WHOLE),
    Mutation("any head's entries are read", f"{MEMORY}.journal.Journal.read", "if one.checkpoint_id == checkpoint_id", "", ASKED),
    Mutation("a deleted head's entries stay", f"{MEMORY}.storage.InMemoryCheckpointStorage.delete", "self._journal.drop_following({record.info.id})", "pass", DELETED),
    Mutation("the head of a journal goes", f"{MEMORY}.storage.InMemoryCheckpointStorage._prune_workflow", "record.info.id not in kept and", "", FOLLOWS),
    Mutation("the chain of digests is cut", f"{MEMORY}.storage.InMemoryCheckpointStorage._insert", 'parent.info.digest if parent else ""', '""', CHAINS),
    Mutation("a retry is written again", f"{MEMORY}.storage.InMemoryCheckpointStorage.save", "if existing is not None:", "if False:", RETRY),
    Mutation("what others stand on is deleted", f"{MEMORY}.storage.InMemoryCheckpointStorage.delete", "raise commit_rules.has_children(record.info.id, child_id, _PLACE)", "pass", LEAVES),
    Mutation("a chain ends too early", f"{MEMORY}.storage._to_full", "if record.full:", "if True:", REPLAY),
)  # fmt: skip

IN_SQLITE = (
    Mutation("a save is not fenced", f"{SQLITE}.rows.insert", "lease_rules.check_writer(commit.lease, leases.holding_in(info.workflow_id, held), now)", "False", FORGED),
    Mutation("a journal is not fenced", f"{SQLITE}.journal.write", "if leases.check_may_write(connection, workflow_id, lease, now):", "if False:", OVERTAKEN),
    Mutation("a lease is granted twice", f"{SQLITE}.leases.acquire", "check_free(holding(connection, workflow_id), owner, now)", "pass", RACE),
    Mutation("an epoch comes again", f"{SQLITE}.tables.take_steps", "connection.execute(step)", "connection.execute(step.replace('AUTOINCREMENT', ''))", EPOCHS),
    Mutation("anybody releases", f"{SQLITE}.leases.release", "epoch = ? AND workflow_id = ? AND owner = ?", "? IS NOT NULL AND workflow_id = ? AND ? IS NOT NULL", HARMS),
    Mutation("an overtaken lease stays", f"{SQLITE}.rows.insert", "if overtakes:", "if False:", "test_who_has_no_lease_overtakes_one_that_expired"),
    Mutation("the sequence counts all", f"{SQLITE}.rows._LOOK", "FROM checkpoint WHERE workflow = w.key)", "FROM checkpoint)", COUNTS),
    Mutation("the latest is the oldest", f"{SQLITE}.rows.latest", "ORDER BY sequence DESC", "ORDER BY sequence", LATEST),
    Mutation("the latest goes by the clock", f"{SQLITE}.rows.latest", "ORDER BY sequence DESC", "ORDER BY created_at DESC", LATEST),
    Mutation("the journal is not dropped", f"{SQLITE}.journal.drop_of_workflow", "WHERE workflow = ?", "WHERE workflow = ? AND FALSE", ENDS),
    Mutation("a later entry wins", f"{SQLITE}.journal._INSERT", "ON CONFLICT DO NOTHING", "ON CONFLICT DO UPDATE SET payload = excluded.payload", FIRST),
    Mutation("any head's entries are read", f"{SQLITE}.journal._READ", "AND follows = ?", "AND ? IS NOT NULL", ASKED),
    Mutation("a deleted head's entries stay", f"{SQLITE}.rows.delete", "journal.drop_following(connection, (position,))", "pass", DELETED),
    Mutation("the head of a journal goes", f"{SQLITE}.journal._FOLLOWED", "?1 < l.expires", "?1 > l.expires", FOLLOWS),
    Mutation("the chain of digests is cut", f"{SQLITE}.rows.insert", "digest_in(parent_digest, info.parent_id)", "''", CHAINS),
    Mutation("a retry is written again", f"{SQLITE}.rows.insert", "if there is not None:", "if False:", RETRY),
    Mutation("a chain ends too early", f"{SQLITE}.rows._CHAIN", "WHERE NOT c.is_full", "WHERE FALSE", REPLAY),
    Mutation("half a write is committed", f"{SQLITE}.connections._transaction", 'execute("ROLLBACK")', 'execute("COMMIT")', WHOLE),
    Mutation("half a write of a batch is committed", f"{SQLITE}.connections._in_savepoint", 'execute("ROLLBACK TO one_of_a_batch")', 'execute("SELECT 1")', AMONG),
    Mutation("what is cut off is not rewritten", f"{SQLITE}.pruning._CUT_OFF_AND_REWRITE", "payload = ?", "payload = payload WHERE position IN (?) AND position = ?", LEFT),
    Mutation("what was rewritten has no seal", f"{SQLITE}.pruning._CUT_OFF_AND_REWRITE", "seal = ?", "seal = substr(?, 1, 0)", SOUND),
)  # fmt: skip

IN_POSTGRES = (
    Mutation("a save is not fenced", f"{POSTGRES}.insertion._judged", "leases.check_may_write(locked, of.commit.lease)", "False", FORGED),
    Mutation("a journal is not fenced", f"{POSTGRES}.leases.lock_to_write", "check_may_write(locked, lease)", "False", OVERTAKEN),
    Mutation("a lease is granted twice", f"{POSTGRES}.leases.acquire", "check_free(locked.holding, owner, locked.now)", "pass", RACE),
    Mutation("an epoch comes again", f"{POSTGRES}.leases._GRANT", "nextval('lease_epoch')", "coalesce(epoch, 0) + 1", EPOCHS),
    Mutation("anybody releases", f"{POSTGRES}.leases.release", "(held.epoch, held.owner) == (lease.epoch, lease.owner)", "True", HARMS),
    Mutation("an overtaken lease stays", f"{POSTGRES}.insertion._judged", "if overtakes:", "if False:", "test_who_has_no_lease_overtakes_one_that_expired"),
    Mutation("the sequence counts all", f"{POSTGRES}.insertion._LOCK_AND_LOOK", "FROM checkpoint WHERE workflow = w.key)", "FROM checkpoint)", COUNTS),
    Mutation("the latest is the oldest", f"{POSTGRES}.rows._LATEST", "ORDER BY c.sequence DESC", "ORDER BY c.sequence", LATEST),
    Mutation("the latest goes by the clock", f"{POSTGRES}.rows._LATEST", "ORDER BY c.sequence DESC", "ORDER BY c.created_at DESC", LATEST),
    Mutation("the journal is not dropped", f"{POSTGRES}.insertion._INSERT", "DELETE FROM journal WHERE", "DELETE FROM journal WHERE FALSE AND", ENDS),
    Mutation("a later entry wins", f"{POSTGRES}.journal._INSERT", "ON CONFLICT DO NOTHING", "ON CONFLICT (workflow, follows, place) DO UPDATE SET payload = excluded.payload", FIRST),
    Mutation("any head's entries are read", f"{POSTGRES}.journal._READ", "AND follows =", "AND 0 <=", ASKED),
    Mutation("a deleted head's entries stay", f"{POSTGRES}.rows.delete", "journal.drop_following(connection, [position])", "pass", SOUND),
    Mutation("the head of a journal goes", f"{POSTGRES}.journal._FOLLOWED", "t.now < w.expires", "t.now > w.expires", FOLLOWS),
    Mutation("the chain of digests is cut", f"{POSTGRES}.insertion._judged", "of.commit.full, digest, sequence)", "of.commit.full, '', sequence)", CHAINS),
    Mutation("a retry is written again", f"{POSTGRES}.insertion._judged", "if there:", "if False:", RETRY),
    Mutation("a chain ends too early", f"{POSTGRES}.rows._CHAIN", "WHERE NOT line.is_full", "WHERE FALSE", REPLAY),
    Mutation("what is cut off is not rewritten", f"{POSTGRES}.pruning._CUT_OFF_AND_REWRITE", "payload = %s", "payload = substr(payload, 1) || substr(%s::bytea, 1, 0)", LEFT),
    Mutation("what was rewritten has no seal", f"{POSTGRES}.pruning._CUT_OFF_AND_REWRITE", "seal = %s", "seal = substr(%s::bytea, 1, 0)", SOUND),
    Mutation("half a write of a batch is committed", f"{POSTGRES}.connections.Sessions._each", "ROLLBACK TO one", "SAVEPOINT two", AMONG),
)  # fmt: skip

OWN = {"memory": IN_MEMORY, "sqlite": IN_SQLITE, "postgres": IN_POSTGRES}

TABLE = [(kind, each) for kind, own in OWN.items() for each in (*shared(kind), *own)]

FOUND = (AssertionError, CheckpointError, LeaseHeldError, LeaseLostError)


def leaves(error):
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for member in error.exceptions for leaf in leaves(member)]


@pytest.fixture
def passes(tmp_path, request):
    """Whether a clause passes for a kind of storage. What fails it must be the clause, and not that the code broke."""

    @asynccontextmanager
    async def memory():
        yield InMemoryCheckpointStorage()

    @asynccontextmanager
    async def sqlite():
        with SqliteCheckpointStorage(tmp_path / f"{len([*tmp_path.iterdir()])}.db", synchronous="normal") as storage:
            yield storage

    @asynccontextmanager
    async def postgres():
        with (
            fresh_database(request.getfixturevalue("postgres_server")) as database,
            PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage,
        ):
            yield storage

    def passes(kind, clause):
        class OfThisKind(StorageConformance):
            def open_storage(self):
                return {"memory": memory, "sqlite": sqlite, "postgres": postgres}[kind]()

        test, clock = getattr(OfThisKind(), clause), trio.testing.MockClock(autojump_threshold=0)
        arguments = [clock] if "autojump_clock" in inspect.signature(test).parameters else []
        try:
            trio.run(test, *arguments, clock=clock)
        except (*FOUND, ExceptionGroup) as error:
            assert all(isinstance(leaf, FOUND) for leaf in leaves(error)), error  # noqa: PT017 - either way is right
            return False
        return True

    return passes


@pytest.mark.parametrize(("kind", "mutation"), TABLE, ids=lambda value: getattr(value, "name", value))
def test_a_clause_fails_for_what_is_taken_out(kind, mutation, passes, monkeypatch):
    mutation.apply(monkeypatch)

    assert not passes(kind, mutation.caught_by)
    assert passes(kind, UNTOUCHED)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_nothing_fails_where_nothing_is_taken_out(kind, passes):
    """But for the clauses that `TestMutations` names, which the conformance tests run anyway."""
    assert passes(kind, FORGED)
    assert passes(kind, UNTOUCHED)


# What only two sessions of one server can show.


async def acquired_meanwhile(database):
    """Acquire a lease while another session is granting it to somebody else, who commits first."""
    with PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage, database.session() as other:
        await storage.save(make_commit("a"))
        other.execute("BEGIN")
        other.execute("SELECT FROM workflow FOR UPDATE")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit_when_somebody_waits, database, other)
            return await storage.acquire_lease("workflow", owner="late")


async def commit_when_somebody_waits(database, other):
    # For longer than a batch has patience: until then it may look again, by itself.
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock' "
        "AND clock_timestamp() - query_start > '300 ms'"
    )
    with trio.fail_after(10):
        while not database.execute(waiting, database.name):  # noqa: ASYNC110 - the server tells nobody
            await trio.sleep(0.001)
    other.execute(
        "UPDATE workflow SET epoch = nextval('lease_epoch'), owner = 'early', host = 'h', process = '', ttl = 30, "
        "acquired = extract(epoch FROM clock_timestamp()), expires = extract(epoch FROM clock_timestamp()) + 30"
    )
    other.execute("COMMIT")


async def test_who_acquires_a_lease_while_another_is_granted_it_is_refused(database):
    with pytest.raises(ExceptionGroup) as caught:
        await acquired_meanwhile(database)
    assert [type(leaf) for leaf in leaves(caught.value)] == [LeaseHeldError]


async def test_a_lease_that_is_looked_at_and_not_locked_is_granted_twice(database, monkeypatch):
    unlocked = Mutation("a lease is looked at, not locked", f"{POSTGRES}.leases._LOCK", " FOR UPDATE", "", "")
    unlocked.apply(monkeypatch)

    assert (await acquired_meanwhile(database)).owner == "late"
