"""A switch over whole programs and test suites: every run goes on from bytes, and not from what it has in memory.

Theory. Between two supersteps a run is what its last commit says, so nothing may change if that is thrown away and read back.
Before each superstep, each wait and its end, a run in the scope does what a resume does:

* the head is loaded from the run's storage and decoded. A state that no storage has yet (no storage was given, or the
  durability leaves it for later) goes through the same codec into an in-memory storage of the switch's own, and back;
* executors are given the state that was read, children that are for one input are made again, and actors end and begin again,
  but for those with an `on_start` or `on_stop`, which a run calls once.

The run is not cancelled, so its events, its handle and its result are those of any other run. `rehydrate_everywhere` goes
further for one workflow: there the run is dropped, with the workflow object.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import attrs
import trio

import actorflow.workflow as made_in  # looked up there at each run
from actorflow.checkpoint.ledger import Ledger
from actorflow.checkpoint.memory.storage import InMemoryCheckpointStorage
from actorflow.checkpoint.records import Checkpoint, CheckpointID, CheckpointInfo, CheckpointKind, Commit
from actorflow.core.effects import REMOVED, Finished
from actorflow.core.snapshot import Changes, Snapshot
from actorflow.graph.nesting import Planned, plan
from actorflow.runtime.definition import Definition
from actorflow.runtime.opening import requests_of
from actorflow.runtime.restoring import decode_checkpoint
from actorflow.runtime.runner import Runner

__all__ = ["Rehydration", "rehydrating"]


@attrs.define(eq=False)
class Rehydration:
    """What the runs of a scope went through.

    Attributes:
        loaded: How often a run went on from its own storage.
        shadowed: How often from the switch's, because no other had all of its state.
        unreadable: How often its own storage raised an OSError, and the switch's did it.
    """

    loaded: int = 0
    shadowed: int = 0
    unreadable: int = 0


@contextmanager
def rehydrating() -> Iterator[Rehydration]:
    """Rebuild the state of every run from bytes after each superstep and at every wait, for as long as the block lasts.

    It goes for every run of this process that begins within the block, so open it around the test, as a fixture does:

        @pytest.fixture(autouse=True)
        def rehydrated():
            with rehydrating():
                yield

    A value that no storage could keep fails the run as a storage would make it fail, also where there is none. What is left alone
    is what executors keep outside their state; `rehydrate_everywhere` finds that out.

    Yields:
        The counts, which grow.
    """
    counts = Rehydration()

    class Counting(_RehydratingRunner):
        rehydration = counts

    before = vars(made_in)["Runner"]
    vars(made_in)["Runner"] = Counting
    try:
        yield counts
    finally:
        vars(made_in)["Runner"] = before


@attrs.define(eq=False)
class _Shadow:
    """Writes states to an in-memory storage, delta by delta, and reads them back."""

    definition: Definition
    storage: InMemoryCheckpointStorage = attrs.Factory(InMemoryCheckpointStorage)
    _ledger: Ledger = attrs.field(init=False)
    _written: Snapshot = attrs.Factory(Snapshot)
    _count: int = 0

    def __attrs_post_init__(self) -> None:
        self._ledger = Ledger(self.definition.codec)

    async def through(self, snapshot: Snapshot) -> Checkpoint:
        """What the storage has of a state, once it was written.

        Raises:
            CodecError: A value in it cannot be stored.
        """
        sections = snapshot.sections()
        changes: Changes = dict.fromkeys(self._written.sections(), REMOVED)
        changes |= {section: snapshot.get(section) for section in sections}
        ledger = self._ledger
        ledger.record(self._written, changes)
        staged = ledger.stage()
        info = self._info(snapshot.superstep)
        await self.storage.save(Commit(info=info, payload=staged.payload, full=staged.full))
        ledger.settle(staged)
        self._written = Snapshot()
        self._written.apply(changes)
        return await self.storage.load(info.id)

    def _info(self, superstep: int) -> CheckpointInfo:
        before, self._count = self._count, self._count + 1
        return CheckpointInfo(
            id=CheckpointID(f"{self._count}"),
            parent_id=CheckpointID(f"{before}") if before else None,
            workflow_name=self.definition.name,
            workflow_id="shadow",
            run_id="shadow",
            superstep=superstep,
            kind=CheckpointKind.SUPERSTEP,
            graph_signature=self.definition.signature,
            created_at=datetime.now(UTC),
        )


class _RehydratingRunner(Runner):
    """A runner that goes on from bytes."""

    rehydration: Rehydration
    _shadow: _Shadow | None = None

    async def _superstep_or_answers(self, nursery: trio.Nursery) -> bool:
        await self._rehydrate()
        return await super()._superstep_or_answers(nursery)

    async def _rehydrate(self) -> None:
        """Take up the committed state as a resume would. If cancelled, the run stands where it stood."""
        states, standing = self._core.states, self._standing
        head = await self._head()
        checkpoint = head or await self._through_the_shadow(standing.snapshot)
        snapshot = decode_checkpoint(self._definition, checkpoint)
        self._let_actors_go()
        await states.put_back(snapshot, [*states.stateful])
        self._adopt(snapshot)
        if head is not None:
            await self._stand_on(head)

    async def _head(self) -> Checkpoint | None:
        """What the run's storage has, if it has all that is committed, and can be read."""
        storage, standing = self._arguments.storage, self._standing
        assert self._recorder is not None
        if storage is None or standing.head is None or not self._recorder.stands_on_head:
            return None
        try:
            loaded = await storage.load(standing.head.id)
        except OSError:  # the run itself would not have asked, so it must not fail of a storage that is away
            self.rehydration.unreadable += 1
            return None
        self.rehydration.loaded += 1
        return loaded

    async def _through_the_shadow(self, snapshot: Snapshot) -> Checkpoint:
        if self._shadow is None:
            self._shadow = _Shadow(self._definition)
        self.rehydration.shadowed += 1
        return await self._shadow.through(snapshot)

    async def _stand_on(self, head: Checkpoint) -> None:
        standing, recorder, storage = self._standing, self._recorder, self._arguments.storage
        assert recorder is not None
        assert storage is not None
        standing.head = head
        standing.ledger = Ledger.of_checkpoint(self._definition.codec, head.contents, standalone=False)
        recorder.parent_id = await standing.parent_in(storage, self._definition)

    def _let_actors_go(self) -> None:
        assert self._recorder is not None
        places = self._core.places
        gone = places.isolated()
        self._actors.stop_inside(gone)
        self._ports.forget(gone)
        places.forget(gone)
        if not self._recorder.unsaved:  # if the save fails, the run asks its actors whose state has to go back
            self._actors.let_go()

    def _adopt(self, snapshot: Snapshot) -> None:
        """Put a snapshot in the place of an equal one; what knows parts of that one by identity goes by the new ones."""
        standing, definition = self._standing, self._definition
        old, standing.snapshot = standing.snapshot, snapshot
        self._answers.stand_on(requests_of(definition, old), requests_of(definition, snapshot))
        pairs = zip(plan(definition, old), plan(definition, snapshot), strict=True)
        now = {id(before.delivery): after for before, after in pairs}
        standing.finished = {
            place: self._read_back(each, now[id(each.delivery)])
            for place, each in standing.finished.items()
            if id(each.delivery) in now
        }
        by_place = standing.trials.by_place
        for place, trial in by_place.items():
            if id(trial.delivery) in now:
                by_place[place] = attrs.evolve(trial, delivery=now[id(trial.delivery)].delivery)

    def _read_back(self, finished: Finished, planned: Planned) -> Finished:
        codec = self._definition.codec.at(planned.names)
        return codec.decode_finished(planned.delivery, codec.encode_finished(finished))
