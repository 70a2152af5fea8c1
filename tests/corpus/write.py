"""Write the corpus of the present format: ``python -m tests.corpus.write``, from the root of the project.

It never touches a file that is there: what was released stays as it was written. A new kind of entry is a new file; a
new stored form is a new `FORMAT_VERSION`, and so a new folder beside the old ones.
"""

from __future__ import annotations

import sys

import trio
from trio.testing import MockClock

from actorflow import InMemoryCheckpointStorage
from tests.corpus.entries import ENTRIES as AT_REST
from tests.corpus.entries import Entry
from tests.corpus.files import counted_ids, dumped, folder, journal_lines, lines_of
from tests.corpus.pending_entries import PENDING

ENTRIES = {**AT_REST, **PENDING}


def written(entry: Entry) -> str:
    """What the file of an entry holds if it is written by today's code: under a clock of its own, for what is due sometime."""
    return trio.run(_written, entry, clock=MockClock(autojump_threshold=0))


async def _written(entry: Entry) -> str:
    storage = InMemoryCheckpointStorage()
    with counted_ids():
        await entry.write(storage)
    return dumped([*lines_of(storage), *await journal_lines(storage)])


def main() -> None:
    folder().mkdir(exist_ok=True)
    for entry in ENTRIES.values():
        path = folder() / f"{entry.name}.jsonl"
        if path.exists():
            print(f"{path.name}: released, left as it is", file=sys.stderr)
            continue
        path.write_text(written(entry), encoding="ascii")
        print(f"{path.name}: written", file=sys.stderr)


if __name__ == "__main__":
    main()
