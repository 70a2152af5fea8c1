"""The journal: what happened in an unfinished superstep, kept in the storage beside the head (P6).

What finished deliveries did is written when a run fails or is cancelled, so that a resume runs again only what did not finish;
with ``durability="delivery"`` each delivery is written as it finishes, so that this holds when the process dies, too. A
failed attempt is written before the gap to the next begins, and a restart before the executor starts again, so that a resume
goes on counting. The next commit of the workflow id wipes all of it.

===================================  ==============================================================
index of an entry                    what it is
===================================  ==============================================================
place                                what the delivery at that place did
place + serial * 2**32               a note on failed attempts at it, or on a restart it caused
place + restarts * 2**32 + 2**62     what it did after its executor had been restarted so often
===================================  ==============================================================

The first entry of an index stays, so each note has an index of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from actorflow.checkpoint.codec.sections import SectionCodec, within
from actorflow.checkpoint.records import CheckpointID, JournalEntry, Lease
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.core.effects import Finished
from actorflow.core.trials import Restarts, Trial, Trials
from actorflow.errors import CheckpointError, CodecError
from actorflow.graph.nesting import Names, Planned
from actorflow.runtime.storing import storage_errors

__all__ = ["PLACES", "Journal", "is_of_finished", "read_journal"]

PLACES = 2**32
"""How far apart the indexes of what a journal has for one place are."""
_AFTER_RESTART = 2**62
_TRIAL = "attempts"
_RESTART = "restarts"


@attrs.define(eq=False)
class Journal:
    """Writes the journal of one run.

    Attributes:
        storage: Where to.
        workflow_id: Whose journal.
        codec: Encodes it.
        lease: The storage's grant.
    """

    storage: CheckpointStorage
    workflow_id: str
    codec: SectionCodec
    lease: Lease | None
    _written: tuple[CheckpointID | None, set[int]] = attrs.field(factory=lambda: (None, set()))

    async def write(
        self, head: CheckpointID | None, finished: Mapping[int, tuple[Names, Finished]], trials: Trials
    ) -> None:
        """Write what is not written yet, all or none. One that cannot be encoded is left to be run again.

        Args:
            head: The checkpoint the superstep follows.
            finished: What is finished of it and where in the tree of workflows, by place in the canonical order.
            trials: What was tried of it.

        Raises:
            CheckpointError: The storage failed.
            LeaseLostError: Another process has the workflow id now.
        """
        if self._written[0] != head:
            self._written = (head, set())
            trials.write_again()
        notes = trials.to_write() if trials else {}
        entries = [self._note(head, each) for each in notes.values()]
        entries += self._finished(head, finished, trials)
        if not entries:
            return
        what = f"what {len(entries)} deliveries of workflow {self.workflow_id!r} did could not be kept"
        try:
            with storage_errors(what):
                await self.storage.write_journal(entries, lease=self.lease)
        except CheckpointError as error:
            error.add_note(what)
            raise
        self._written[1].update(entry.index for entry in entries)
        trials.wrote(notes)

    def _finished(
        self, head: CheckpointID | None, finished: Mapping[int, tuple[Names, Finished]], trials: Trials
    ) -> Iterator[JournalEntry]:
        for place, (names, each) in finished.items():
            restarts = trials.restarts_of((names, each.delivery.target_id)) if trials else 0
            index = place + restarts * PLACES + _AFTER_RESTART if restarts else place
            if index in self._written[1]:
                continue
            try:
                payload = self.codec.at(names).encode_finished(each)
            except CodecError:  # the commit of the superstep raises it, and says where the value sits
                continue
            yield self._entry(head, index, payload)

    def _note(self, head: CheckpointID | None, note: Trial | Restarts) -> JournalEntry:
        if isinstance(note, Restarts):
            plain = [_RESTART, note.count, *note.times]
        else:
            plain = [_TRIAL, note.restarts, note.attempts, note.due, note.delay]
        return self._entry(head, note.place + note.serial * PLACES, self.codec.encode_note(plain))

    def _entry(self, head: CheckpointID | None, index: int, payload: bytes) -> JournalEntry:
        return JournalEntry(workflow_id=self.workflow_id, checkpoint_id=head, index=index, payload=payload)


def is_of_finished(entry: JournalEntry) -> bool:
    """Whether an entry says what a delivery did; others are notes on attempts at it."""
    return entry.index < PLACES or entry.index >= _AFTER_RESTART


async def read_journal(
    storage: CheckpointStorage,
    workflow_id: str,
    head: CheckpointID,
    planned: Sequence[Planned],
    *,
    codec: SectionCodec,
    trials: Trials,
) -> dict[int, Finished]:
    """What is known of the superstep that follows a workflow id's head.

    Args:
        storage: Where the journal is.
        workflow_id: Whose journal.
        head: The checkpoint.
        planned: The superstep's deliveries.
        codec: Decodes it, with those of the workflows that run inside.
        trials: What was tried; amended.

    Returns:
        What is finished of it.

    Raises:
        CheckpointError: The storage failed, or an entry is damaged.
    """
    if not planned or not hasattr(storage, "read_journal"):
        return {}
    with storage_errors(f"the journal of workflow {workflow_id!r} could not be read"):
        entries = await storage.read_journal(workflow_id, head)
    here = [entry for entry in entries if entry.index % PLACES < len(planned)]
    for entry in here:
        if not is_of_finished(entry):
            _take_note(entry, planned, codec, trials)
    finished = {}
    for entry in here:
        each = planned[place := entry.index % PLACES]
        restarts = trials.restarts_of((each.names, each.delivery.target_id))
        if entry.index == (place + restarts * PLACES + _AFTER_RESTART if restarts else place):
            finished[place] = _read_finished(each, entry, codec)
    return finished


def _read_finished(each: Planned, entry: JournalEntry, codec: SectionCodec) -> Finished:
    inner = codec.at(each.names)
    try:
        return inner.decode_finished(each.delivery, entry.payload)
    except CodecError as error:
        if not each.names:
            raise
        raise within(each.names, error) from error


def _take_note(entry: JournalEntry, planned: Sequence[Planned], codec: SectionCodec, trials: Trials) -> None:
    serial, place = divmod(entry.index, PLACES)
    names, delivery = planned[place].names, planned[place].delivery
    kind, *note = codec.decode_note(entry.payload)
    try:
        if kind == _TRIAL:
            restarts, attempts, due, delay = note
            trials.take(Trial(place, delivery, int(attempts), float(due), float(delay), int(restarts), serial))
        elif kind == _RESTART:
            count, *times = note
            trials.take_restarts(
                (names, delivery.target_id), Restarts(int(count), tuple(map(float, times)), place, serial)
            )
        else:
            raise CodecError("journal", f"a note on attempts is of the unknown kind {kind!r}")
    except (TypeError, ValueError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError("journal", f"a note on attempts does not have its form ({error})") from error
