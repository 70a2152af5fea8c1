"""Between a snapshot's sections and their stored bytes: what each table's values look like when encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actorflow.checkpoint.codec.effects import Forms
from actorflow.checkpoint.codec.registry import TypeRegistry
from actorflow.checkpoint.codec.values import Codec
from actorflow.checkpoint.codec.wire import pack
from actorflow.core.effects import Delivery, Finished
from actorflow.core.snapshot import (
    CHILDREN,
    COUNT,
    EXECUTORS,
    INFLIGHT,
    INPUTS,
    JOINS,
    OUTPUTS,
    REQUESTS,
    RESTARTS,
    RUN,
    STATE,
    STEPS,
    TIMERS,
    RunMark,
    Section,
    Snapshot,
    split_table,
)
from actorflow.core.subworkflows import executor_of, is_name
from actorflow.errors import CodecError

__all__ = ["CHAIN_KEY", "SectionCodec", "section_key", "within"]

CHAIN_KEY = "chain/"
"""Not part of the state: how many deltas, of how many bytes, lie between a checkpoint and the full one below it."""


def within(names: Sequence[str], error: CodecError) -> CodecError:
    """The same error, told of a value of a workflow that runs inside another one.

    Each has a builder, and so types and upcasters, of its own: an error that does not say which one sends its reader to
    the wrong builder.

    Args:
        names: The children that lead to it, outermost first; at least one.
        error: What is wrong with the value.
    """
    problem = str(error).removeprefix(f"{error.path}: ")
    if "WorkflowBuilder(" in problem:
        problem += f"; the builder is that of the workflow inside {executor_of(names[-1])!r}"
    return CodecError(f"child {'/'.join(names)!r}: {error.path}", problem)


def section_key(section: Section) -> str:
    """The stored key of a section."""
    return f"{section[0]}/{section[1]}"


class SectionCodec:
    """Encodes and decodes whole sections with the types one graph declares.

    Args:
        registry: Those types.
        children: The same for the workflows that run inside executors, by executor id.

    Attributes:
        registry: Those types.
    """

    def __init__(self, registry: TypeRegistry, children: Mapping[str, SectionCodec] | None = None) -> None:
        self.registry = registry
        self._children = children or {}
        self._codec = Codec(registry)
        self._forms = forms = Forms(registry, self._codec)
        self._encoders: dict[str, Callable[[str, Any], bytes]] = {
            STATE: lambda name, value: self._codec.encode(value, f"state[{name!r}]"),
            EXECUTORS: lambda name, value: self._codec.encode(value, f"state of executor {name!r}"),
            JOINS: self._encode_join,
            REQUESTS: lambda _, request: self._plain(forms.lower_request(request)),
            INFLIGHT[0]: lambda _, deliveries: self._plain([*map(forms.lower_delivery, deliveries)]),
            TIMERS: lambda _, timer: self._plain(forms.lower_timer(timer)),
            OUTPUTS: lambda _, outputs: self._plain([*map(forms.lower_output, outputs)]),
            RESTARTS: lambda _, times: self._plain([*times]),
            RUN[0]: lambda _, mark: self._plain([mark.origin, mark.begun_at]),
            CHILDREN: lambda _, value: self._plain(value),
            COUNT[0]: lambda _, count: self._plain(count),
            STEPS[0]: lambda _, count: self._plain(count),
            INPUTS: lambda _, given: self._plain(forms.lower_input(given)),
        }
        self._decoders: dict[str, Callable[[str, bytes], Any]] = {
            STATE: lambda name, data: self._codec.decode(data, f"state[{name!r}]"),
            EXECUTORS: lambda name, data: self._codec.decode(data, f"state of executor {name!r}"),
            JOINS: lambda name, data: self._codec.decode(data, f"join {name!r}"),
            REQUESTS: lambda _, data: forms.raise_request(self._decoded(data, "request")),
            INFLIGHT[0]: lambda _, data: tuple(map(forms.raise_delivery, self._decoded(data, "messages"))),
            TIMERS: lambda name, data: forms.raise_timer(name, self._decoded(data, f"timer {name!r}")),
            OUTPUTS: lambda _, data: tuple(map(forms.raise_output, self._decoded(data, "outputs"))),
            RESTARTS: lambda _, data: tuple(map(float, self._decoded(data, "restarts"))),
            RUN[0]: lambda _, data: RunMark(*self._decoded(data, "run")),
            CHILDREN: lambda _, data: self._decoded(data, "child"),
            COUNT[0]: lambda _, data: self._count(data, "count of inputs"),
            STEPS[0]: lambda _, data: self._count(data, "count of supersteps"),
            INPUTS: lambda _, data: forms.raise_input(self._decoded(data, "input")),
        }

    def encode(self, section: Section, value: Any) -> bytes:
        """Encode one section.

        Raises:
            CodecError: Some value in it cannot be stored exactly; names where it sits.
        """
        table, name = section
        names, own = split_table(table)
        encoder = self.at(names)._encoders[own]  # noqa: SLF001 - its own kind
        try:
            return encoder(name, value)
        except CodecError as error:
            if not names:
                raise
            raise within(names, error) from error

    def at(self, names: Sequence[str]) -> SectionCodec:
        """The codec of a workflow that runs inside, by the names that lead to it.

        Raises:
            CodecError: This graph has no such executor.
        """
        codec = self
        for child in names:
            inner = codec._children.get(executor_of(child))
            if inner is None:
                raise CodecError(f"child {child!r}", f"no executor {executor_of(child)!r} holds a workflow here")
            codec = inner
        return codec

    def decode(self, contents: Mapping[str, bytes], superstep: int) -> Snapshot:
        """Rebuild a snapshot from a checkpoint's contents.

        Args:
            contents: Encoded value by section key.
            superstep: The checkpoint's superstep.

        Raises:
            CodecError: The contents are damaged, or name a type this graph does not declare.
        """
        snapshot = Snapshot(superstep=superstep)
        for key, data in contents.items():
            if key == CHAIN_KEY:
                continue
            table, _, name = key.partition("/")
            snapshot.apply({(table, name): self._decode_one(key, table, name, data)})
        self._check_children(snapshot)
        return snapshot

    def _check_children(self, snapshot: Snapshot) -> None:
        for turn, given in snapshot.table(INPUTS).items():
            if not is_name(turn) or executor_of(turn) != given.executor_id or given.executor_id not in self._children:
                raise CodecError(f"input {turn!r}", f"waits for {given.executor_id!r}, which takes no such input here")
        for child, inner in snapshot.children.items():
            if inner.mark is None or child not in snapshot.table(CHILDREN):
                raise CodecError(f"child {child!r}", "is incomplete; the checkpoint is damaged")
            self.at((child,))._check_children(inner)  # noqa: SLF001 - its own kind

    def _decode_one(self, key: str, table: str, name: str, data: bytes) -> Any:
        names, own = split_table(table)
        if not all(map(is_name, names)) or (own == INPUTS and not is_name(name)):
            raise CodecError(key, "does not name a child; it was written by something newer, or is damaged")
        decoder = self.at(names)._decoders.get(own)  # noqa: SLF001 - its own kind
        if decoder is None:
            raise CodecError(key, "is a section of no known kind; it was written by something newer, or is damaged")
        try:
            return decoder(name, data)
        except CodecError as error:
            if not names:
                raise
            raise within(names, error) from error
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise CodecError(key, f"does not have the form of a stored {own} ({error})") from error

    def branched(self, key: str, data: bytes, workflow_id: str) -> bytes:
        """A stored section as a branch under another workflow id has it: its deliveries are others, and so are their ids.

        Of workflows that run inside, too, whose types need not be known.

        Args:
            key: The section.
            data: Its stored form.
            workflow_id: The branch's.

        Raises:
            CodecError: It is damaged.
        """
        _, own = split_table(key.partition("/")[0])
        if own not in {RUN[0], INPUTS}:
            return data
        lowered = self._decoded(data, own)
        place = 0 if own == RUN[0] else 2
        if not isinstance(lowered, list) or len(lowered) <= place or not isinstance(lowered[place], str):
            raise CodecError(key, f"does not have the form of a stored {own}")
        lowered[place] = RunMark(lowered[place], 0).branched(workflow_id).origin
        return self._plain(lowered)

    def encode_chain(self, count: int, size: int) -> bytes:
        """Encode the length of a chain of deltas."""
        return self._plain([count, size])

    def decode_chain(self, data: bytes) -> tuple[int, int]:
        """Decode it.

        Raises:
            CodecError: It is damaged.
        """
        length = self._decoded(data, "chain")
        if not isinstance(length, list) or [type(each) for each in length] != [int, int]:
            raise CodecError("chain", f"is {length!r}, not a number of deltas and of bytes")
        return length[0], length[1]

    def _count(self, data: bytes, what: str) -> int:
        count = self._decoded(data, what)
        if type(count) is not int or count < 0:
            raise CodecError(what, f"is {count!r}, not a number from 0")
        return count

    def _plain(self, value: Any) -> bytes:
        try:
            return pack(value)  # what the forms make is plain: there is nothing to look for in it
        except (OverflowError, UnicodeEncodeError):
            return self._codec.encode(value, "checkpoint")

    def _decoded(self, data: bytes, path: str) -> Any:
        return self._codec.decode(data, path)

    def _encode_join(self, name: str, held: Mapping[str, tuple[Any, ...]]) -> bytes:
        return self._codec.encode(dict(held), f"join {name!r}")

    def encode_finished(self, finished: Finished) -> bytes:
        """Encode what a finished delivery did, for the journal.

        Raises:
            CodecError: Some value in it cannot be stored exactly.
        """
        return self._plain(self._forms.lower_finished(finished))

    def encode_note(self, note: Sequence[Any]) -> bytes:
        """Encode a note on attempts or restarts, for the journal: a list of plain values."""
        return self._plain([*note])

    def decode_note(self, data: bytes) -> list[Any]:
        """Read one.

        Raises:
            CodecError: It is damaged.
        """
        note = self._decoded(data, "journal")
        if not isinstance(note, list) or not note:
            raise CodecError("journal", f"a note on attempts is {note!r}, not a list")
        return note

    def decode_finished(self, delivery: Delivery, data: bytes) -> Finished:
        """Read an entry of the journal.

        Raises:
            CodecError: It is damaged, or names a type this graph does not declare.
        """
        try:
            return self._forms.raise_finished(delivery, self._decoded(data, "journal"))
        except (TypeError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, CodecError):
                raise
            raise CodecError("journal", f"an entry does not have the form of a finished delivery ({error})") from error
