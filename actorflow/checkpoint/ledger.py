"""The encoded side of what a workflow stands on: finds what changed since its head, by comparing bytes (P10).

The ledger mirrors the head checkpoint as bytes. `stage` encodes a superstep's changes, leaves out what encodes as it did
before, and packs the rest; `settle` adopts a staged commit once it is stored. Nothing in between is visible, so a save
that fails leaves the ledger where the head is.

**Full snapshots.** A delta is written in full when the deltas since the last full one could have paid for it: when its
size is at most a tenth of their bytes plus 128 bytes for each of them. So, over any stretch of history, full snapshots add
at most 10% and 128 bytes per superstep, and loading reads at most about ten times the size of the state. What a resume
reads pays too: for each, full snapshots may add a tenth of the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from actorflow.checkpoint.codec.sections import CHAIN_KEY, SectionCodec, section_key
from actorflow.checkpoint.deltas import pack_delta
from actorflow.checkpoint.records import Delta
from actorflow.core.effects import REMOVED
from actorflow.core.snapshot import OUTPUTS, Changes, Section, Snapshot

__all__ = ["Ledger", "Staged"]

_BYTES_SHARE = 0.1
_PER_COMMIT = 128
_LEAST_DISTANCE = 16
_OUTPUTS_PREFIX = f"{OUTPUTS}/"


@attrs.frozen
class Staged:
    """A commit's bytes, ready to be stored.

    Attributes:
        payload: The packed delta.
        full: Whether it stands alone.
        changed: Encoded value by section key; None for a section that is gone.
    """

    payload: bytes
    full: bool
    changed: Mapping[str, bytes | None]


@attrs.define(eq=False)
class Ledger:
    """Mirror of a head checkpoint.

    Attributes:
        codec: Encodes sections.
        stored: Encoded value by section key, as in the head.
        standalone: Whether the next commit must be full: there is no head, or it lies in another lineage.
    """

    codec: SectionCodec
    stored: dict[str, bytes] = attrs.field(factory=dict, init=False)
    standalone: bool = True
    _unsaved: dict[str, bytes | None] = attrs.Factory(dict)
    _unencoded: dict[Section, None] = attrs.Factory(dict)
    _output_count: int = 0
    _size: int = 0
    _delta_bytes: int = 0
    _delta_count: int = 0

    @classmethod
    def of_checkpoint(cls, codec: SectionCodec, contents: Mapping[str, bytes], *, standalone: bool) -> Ledger:
        """The mirror of a checkpoint that was just loaded."""
        ledger = cls(codec, standalone=standalone)
        for key, data in contents.items():
            if key != CHAIN_KEY:
                ledger._put(key, data)
        if CHAIN_KEY in contents:
            ledger._delta_count, before = codec.decode_chain(contents[CHAIN_KEY])
            # The last delta's own bytes nobody has kept. It counts as if it held everything, which is what reading it cost:
            # left out, a workflow that is resumed at every superstep would never earn a full snapshot.
            ledger._delta_bytes = before + ledger._size
        return ledger

    def skip(self, changes: Changes) -> None:
        """Note changes made by a run without storage; the next commit encodes their sections as they are by then."""
        self._unencoded.update(dict.fromkeys(changes))

    def record(self, snapshot: Snapshot, changes: Changes) -> None:
        """Encode changes that will be stored later, so that a value that cannot be stored is refused now.

        Args:
            snapshot: The snapshot before the changes.
            changes: What is about to be committed.

        Raises:
            CodecError: A value cannot be stored; nothing is recorded.
        """
        encoded = self._encode(snapshot, changes)
        self._unencoded.clear()
        self._unsaved.update(encoded)

    @property
    def is_behind(self) -> bool:
        """Whether the workflow has gone on, past the head, in runs without storage."""
        return bool(self._unencoded)

    @property
    def is_settled(self) -> bool:
        """Whether the head holds all that is committed."""
        return not self._unsaved and not self._unencoded

    def mark(self) -> object:
        """Remember what is recorded and not stored, for `back_to`."""
        return dict(self._unsaved), dict(self._unencoded)

    def back_to(self, mark: object) -> None:
        """Forget what was recorded since a `mark`."""
        self._unsaved, self._unencoded = mark  # type: ignore[misc]

    def forget(self) -> None:
        """Drop what was recorded and not stored: the workflow went back to its head."""
        self._unsaved.clear()

    def stage(self) -> Staged:
        """Pack everything recorded since the head."""
        changed = {key: data for key, data in self._unsaved.items() if self.stored.get(key) != data}
        full = self.standalone or self._full_is_due(changed)
        payload = pack_delta(self._full_delta(changed) if full else self._small_delta(changed))
        return Staged(payload, full, changed)

    def settle(self, staged: Staged) -> None:
        """Adopt a staged commit that is now stored as the head."""
        for key, data in staged.changed.items():
            self._put(key, data)
        self.standalone = False
        self._delta_bytes = 0 if staged.full else self._delta_bytes + len(staged.payload)
        self._delta_count = 0 if staged.full else self._delta_count + 1
        self.forget()

    def _put(self, key: str, data: bytes | None) -> None:
        old = self.stored.get(key)
        if old is not None:
            self._size -= len(key) + len(old)
        if data is None:
            self.stored.pop(key, None)
        else:
            self.stored[key] = data
            self._size += len(key) + len(data)
        if key.startswith(_OUTPUTS_PREFIX):
            self._output_count += (data is not None) - (old is not None)

    def _encode(self, snapshot: Snapshot, changes: Changes) -> dict[str, bytes | None]:
        values: dict[Section, Any] = {section: snapshot.get(section) for section in self._unencoded} | changes
        return {
            section_key(section): None if value is REMOVED else self.codec.encode(section, value)
            for section, value in values.items()
        }

    def _full_is_due(self, changed: Mapping[str, bytes | None]) -> bool:
        if self._delta_count < _LEAST_DISTANCE:
            return False
        grown = sum(len(data) for data in changed.values() if data)
        return self._size + grown <= _BYTES_SHARE * self._delta_bytes + _PER_COMMIT * self._delta_count

    def _small_delta(self, changed: Mapping[str, bytes | None]) -> Delta:
        # How long the chain is, so that a workflow resumed every few supersteps earns its full snapshots, too.
        packed: dict[str, bytes] = {CHAIN_KEY: self.codec.encode_chain(self._delta_count + 1, self._delta_bytes)}
        gone = []
        for key, data in changed.items():
            if data is None:
                gone.append(key)
            else:
                packed[key] = data
        if not gone:
            return Delta(changed=packed)
        gone_outputs = sum(key.startswith(_OUTPUTS_PREFIX) for key in gone)
        # A new run lets go of every output of the one before: said in one word instead of once per superstep.
        clears = gone_outputs > 1 and gone_outputs == self._output_count
        return Delta(
            changed=packed,
            removed=tuple(key for key in gone if not (clears and key.startswith(_OUTPUTS_PREFIX))),
            cleared=(_OUTPUTS_PREFIX,) if clears else (),
        )

    def _full_delta(self, changed: Mapping[str, bytes | None]) -> Delta:
        merged = {**self.stored, **changed}
        return Delta(changed={key: data for key, data in merged.items() if data is not None}, full=True)
