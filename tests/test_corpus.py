"""Proves that checkpoints written by every released format are taken up by today's code, and that today's code writes them so.

R03: the files under ``corpus/`` are resumed, with the classes they were written by and, through upcasters, with renamed and
changed ones (F42). A change of the stored form or of the graph signature that comes without a new format version fails
here: what is written today must be, byte for byte, what was released.
"""

from __future__ import annotations

import json

import pytest

from actorflow import InMemoryCheckpointStorage, SqliteCheckpointStorage
from actorflow.storage import FORMAT_VERSION
from tests.corpus import write
from tests.corpus.entries import ERAS
from tests.corpus.files import fill, folder
from tests.corpus.write import ENTRIES

FILES = [
    pytest.param(path, id=f"{path.parent.name}-{path.stem}")
    for version in range(1, FORMAT_VERSION + 1)
    for path in sorted(folder(version).glob("*.jsonl"))
]


@pytest.mark.parametrize("era", ERAS.values(), ids=ERAS.keys())
@pytest.mark.parametrize("path", FILES)
async def test_a_released_checkpoint_is_taken_up_as_it_was_left(path, era, autojump_clock):
    storage = InMemoryCheckpointStorage()
    await fill(storage, path)

    await ENTRIES[path.stem].resume(storage, era)


@pytest.mark.parametrize("path", FILES)
async def test_a_released_checkpoint_is_taken_up_from_a_file(path, tmp_path, autojump_clock):
    with SqliteCheckpointStorage(tmp_path / "corpus.db", synchronous="normal") as storage:
        await fill(storage, path)

        await ENTRIES[path.stem].resume(storage, ERAS["as written"])


@pytest.mark.not_rehydrated(reason="compares bytes, and a resume does not know those of the delta it stands on")
@pytest.mark.parametrize("name", ENTRIES)
def test_what_is_written_today_is_what_was_released(name):
    released = (folder() / f"{name}.jsonl").read_text(encoding="ascii").splitlines()
    today = write.written(ENTRIES[name]).splitlines()

    assert [_timeless(line) for line in today] == [_timeless(line) for line in released]


def _timeless(line):
    row = json.loads(line)
    row.get("checkpoint", {}).pop("created_at", None)
    return row


def test_no_released_file_is_written_again(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(write, "folder", lambda: tmp_path)
    monkeypatch.setattr(write, "ENTRIES", {"values": ENTRIES["values"]})
    (tmp_path / "values.jsonl").write_text("as released")

    write.main()

    assert (tmp_path / "values.jsonl").read_text() == "as released"
    assert "left as it is" in capsys.readouterr().err
