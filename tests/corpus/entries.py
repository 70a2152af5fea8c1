"""The entries of the corpus: what was run before each was left, and what must come of it when it is taken up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import attrs

from actorflow import LATEST
from tests.corpus.workflows import FIRST, LATER, VALUES, Era, depot, values

__all__ = ["ENTRIES", "Entry"]


@attrs.frozen
class Entry:
    """One file.

    Attributes:
        name: Its name.
        write: Runs the workflows of the time when it was written.
        resume: Takes them up with today's classes, of one era or the other, and checks what comes of it.
    """

    name: str
    write: Callable[[Any], Awaitable[None]]
    resume: Callable[[Any, Era], Awaitable[None]]


async def write_values(storage: Any) -> None:
    await values(storage).run("all")


async def resume_values(storage: Any, era: Era) -> None:
    workflow = values(storage)
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["all"]
    state = workflow._core.standing.snapshot.table("state")
    assert dict(state) == VALUES
    for key, value in VALUES.items():
        assert repr(state[key]) == repr(value) or key == "sets", key
    assert (await workflow.run("again")).outputs == ["again"]


async def write_supersteps(storage: Any) -> None:
    """Every superstep of one run: deliveries in flight, a join half full, open requests at the end."""
    await depot(storage, FIRST).run(FIRST.make("a", 3))


async def resume_supersteps(storage: Any, era: Era) -> None:
    history = [info.id for info in await storage.list(workflow_id="depot")][::-1]
    assert len(history) == 5
    for number, checkpoint_id in enumerate(history):
        workflow = depot(storage, era, id=f"branch {number}")
        result = await workflow.run(checkpoint_id=checkpoint_id)
        assert result.outputs == ["counted a"], number
        await asked_for(workflow, era, "a", 3)


async def asked_for(workflow: Any, era: Era, label: str, kilos: int) -> None:
    """Both requests are open, for a parcel of this class, and answered by today's types."""
    assert [each.data for each in workflow.pending_requests.values()] == [era.make(label, kilos)] * 2
    answers = {f"{label} 0": [era.leave(True), era.leave(False)], f"{label} 1": era.leave(True)}
    result = await workflow.run(responses=answers)
    assert result.outputs == [f"{label} of {kilos} kg: [True, False]", f"{label} of {kilos} kg: True"]
    assert workflow.executors["split"].state[-1] == era.make(label, kilos)
    assert workflow.executors["count"].kilos[label] == kilos


async def write_responses(storage: Any) -> None:
    """One of two requests is answered."""
    workflow = depot(storage, FIRST)
    await workflow.run(FIRST.make("a"))
    await workflow.run(responses={"a 1": FIRST.leave(False)})


async def resume_responses(storage: Any, era: Era) -> None:
    answered = next(info for info in await storage.list(workflow_id="depot") if info.kind == "responses")
    branch = depot(storage, era, id="branch")
    assert (await branch.run(checkpoint_id=answered.id)).outputs == ["a of 1 kg: False"]
    workflow = depot(storage, era)
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["a of 1 kg: False"]
    result = await workflow.run(responses={"a 0": [era.leave(True)]})
    assert result.outputs == ["a of 1 kg: [True]"]


async def write_journal(storage: Any) -> None:
    """A superstep of which one delivery finished and the other failed."""
    with suppress(OSError):
        await depot(storage, FIRST, broken=True).run(FIRST.make("a", 2))


async def resume_journal(storage: Any, era: Era) -> None:
    head = await storage.latest(workflow_id="depot")
    assert len(await storage.read_journal("depot", head.id)) == 1
    workflow = depot(storage, era)
    assert (await workflow.run(checkpoint_id=LATEST)).outputs == ["counted a"]
    await asked_for(workflow, era, "a", 2)


async def write_pruned(storage: Any) -> None:
    """A long chain with full snapshots in it, of which the newest are left."""
    workflow = depot(storage, FIRST)
    for number in range(12):
        await workflow.run(FIRST.make(f"{number}", number))
    await storage.prune(keep_last=4)


async def resume_pruned(storage: Any, era: Era) -> None:
    assert len(await storage.list()) == 4
    workflow = depot(storage, era)
    await workflow.run(checkpoint_id=LATEST)
    assert len(workflow.pending_requests) == 24
    assert workflow.executors["split"].state == [era.make(f"{number}", number) for number in range(12)]
    result = await workflow.run(responses={"7 1": era.leave(True)})
    assert result.outputs == ["7 of 7 kg: True"]


async def write_fork(storage: Any) -> None:
    """A branch under another id, from the middle of a run, and a branch of that."""
    await depot(storage, FIRST).run(FIRST.make("a", 5))
    middle = (await storage.list(workflow_id="depot"))[2]
    branch = depot(storage, FIRST, id="branch")
    await branch.run(checkpoint_id=middle.id)
    await branch.run(FIRST.make("b", 6))
    inner = (await storage.list(workflow_id="branch"))[2]
    await depot(storage, FIRST, id="branch of branch").run(checkpoint_id=inner.id)


async def resume_fork(storage: Any, era: Era) -> None:
    branch = depot(storage, era, id="branch")
    await branch.run(checkpoint_id=LATEST)
    assert len(branch.pending_requests) == 4
    inner = depot(storage, era, id="branch of branch")
    await inner.run(checkpoint_id=LATEST)
    assert (await inner.run(responses={"b 1": era.leave(True)})).outputs == ["b of 6 kg: True"]
    line = [info.workflow_id for info in await storage.lineage(inner.head)]
    assert list(dict.fromkeys(line)) == ["branch of branch", "branch", "depot"]
    after = await inner.run(era.make("c", 7))
    assert after.outputs == ["counted c"]
    again = depot(storage, era, id="branch of branch")
    await again.run(checkpoint_id=LATEST)
    assert again.executors["split"].state == [era.make("a", 5), era.make("b", 6), era.make("c", 7)]


ENTRIES = {
    name: Entry(name, write, resume)
    for name, write, resume in (
        ("values", write_values, resume_values),
        ("supersteps", write_supersteps, resume_supersteps),
        ("responses", write_responses, resume_responses),
        ("journal", write_journal, resume_journal),
        ("pruned", write_pruned, resume_pruned),
        ("fork", write_fork, resume_fork),
    )
}
ERAS = {"as written": FIRST, "renamed and changed": LATER}
