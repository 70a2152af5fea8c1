"""What differs between two checkpoints, as values that people can read."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from actorflow.checkpoint.codec.generic import GenericCodec
from actorflow.checkpoint.formats import check_format
from actorflow.checkpoint.opened import StoredMessage, StoredOutput, open_items, open_sections
from actorflow.checkpoint.records import Checkpoint, CheckpointInfo
from actorflow.core.snapshot import EXECUTORS, INFLIGHT, JOINS, OUTPUTS, REQUESTS, STATE, TIMERS

__all__ = ["ABSENT", "Absent", "Change", "Diff", "diff_of"]


class _Shortened(reprlib.Repr):
    """Shows values in one line each, however large they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 20


_SHOWN = _Shortened()


class Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()
"""In a diff: there is no such thing on this side. In the state given to a fork: delete this key."""


@attrs.frozen
class Change:
    """What one thing was and is.

    Attributes:
        before: Its value in the first checkpoint; `ABSENT` if it was added.
        after: Its value in the second; `ABSENT` if it was removed.
    """

    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is ABSENT:
            return f"+ {_SHOWN.repr(self.after)}"
        if self.after is ABSENT:
            return f"- {_SHOWN.repr(self.before)}"
        return f"{_SHOWN.repr(self.before)} -> {_SHOWN.repr(self.after)}"


@attrs.frozen(kw_only=True)
class Diff:
    """What differs between two checkpoints; what is equal is left out.

    Values of classes that were not given as ``types`` are records, see `Record`.

    Attributes:
        before: Header of the first.
        after: Header of the second.
        state: The shared state, by key.
        executors: The states of executors, by id.
        joins: What fan-in joins hold, by id.
        requests: Open requests, by id.
        timers: Delayed messages, by the name of their timer.
        other: Sections of other kinds, by section key; all those of workflows inside executors, as ``@orders#3|state/total``
            of the child ``orders#3``.
        messages_added: Messages in flight in the second only, in order.
        messages_removed: Messages in flight in the first only.
        outputs_added: Outputs since the run's entry that are in the second only.
        outputs_removed: Those in the first only.
    """

    before: CheckpointInfo
    after: CheckpointInfo
    state: Mapping[str, Change]
    executors: Mapping[str, Change]
    joins: Mapping[str, Change]
    requests: Mapping[str, Change]
    timers: Mapping[str, Change]
    other: Mapping[str, Change]
    messages_added: tuple[StoredMessage, ...]
    messages_removed: tuple[StoredMessage, ...]
    outputs_added: tuple[StoredOutput, ...]
    outputs_removed: tuple[StoredOutput, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs but the headers."""
        return not any(lines for _, lines in self._parts())

    def __str__(self) -> str:
        head = f"{_named(self.before)} -> {_named(self.after)}"
        parts = [
            f"  {title}:\n" + "\n".join(f"    {line}" for line in lines) for title, lines in self._parts() if lines
        ]
        return "\n".join([head, *(parts or ["  no difference"])])

    def _parts(self) -> Iterator[tuple[str, list[str]]]:
        for title in ("state", "executors", "joins", "requests", "timers", "other"):
            changes: Mapping[str, Change] = getattr(self, title)
            yield title, [f"{name}: {change}" for name, change in changes.items()]
        for title in ("messages", "outputs"):
            removed, added = getattr(self, f"{title}_removed"), getattr(self, f"{title}_added")
            yield (
                title,
                [*(f"- {_SHOWN.repr(each)}" for each in removed), *(f"+ {_SHOWN.repr(each)}" for each in added)],
            )


def _named(info: CheckpointInfo) -> str:
    return f"{info.id} ({info.workflow_id}, superstep {info.superstep})"


def diff_of(before: Checkpoint, after: Checkpoint, codec: GenericCodec) -> Diff:
    """Compare two checkpoints. Sections with the same bytes are equal and not decoded.

    Raises:
        CodecError: A section that differs is damaged.
        CheckpointError: One was written in a format that this version does not know.
    """
    for one in (before, after):
        check_format(one, "compare")
    tables = _table_changes(before, after, codec)
    before_items, after_items = open_items(codec, before.contents), open_items(codec, after.contents)
    messages, outputs = INFLIGHT[0], OUTPUTS
    return Diff(
        before=_header(before),
        after=_header(after),
        state=tables[STATE],
        executors=tables[EXECUTORS],
        joins=tables[JOINS],
        requests=tables[REQUESTS],
        timers=tables[TIMERS],
        other=tables[""],
        messages_added=_without(after_items[messages], before_items[messages]),
        messages_removed=_without(before_items[messages], after_items[messages]),
        outputs_added=_without(after_items[outputs], before_items[outputs]),
        outputs_removed=_without(before_items[outputs], after_items[outputs]),
    )


def _table_changes(before: Checkpoint, after: Checkpoint, codec: GenericCodec) -> dict[str, dict[str, Change]]:
    old = open_sections(codec, _differing(before.contents, after.contents))
    new = open_sections(codec, _differing(after.contents, before.contents))
    return {
        table: {
            name: Change(old[table].get(name, ABSENT), new[table].get(name, ABSENT))
            for name in dict.fromkeys([*old[table], *new[table]])
        }
        for table in old
    }


def _differing(contents: Mapping[str, bytes], others: Mapping[str, bytes]) -> dict[str, bytes]:
    return {key: data for key, data in contents.items() if others.get(key) != data}


def _without(items: list[tuple[bytes, Any]], others: list[tuple[bytes, Any]]) -> tuple[Any, ...]:
    """The items that the others do not have, or not so often; which of several equal ones does not matter."""
    there = Counter(form for form, _ in others)
    left = []
    for form, item in items:
        if there[form]:
            there[form] -= 1
        else:
            left.append(item)
    return tuple(left)


def _header(checkpoint: Checkpoint) -> CheckpointInfo:
    return CheckpointInfo(**{field.name: getattr(checkpoint, field.name) for field in attrs.fields(CheckpointInfo)})
