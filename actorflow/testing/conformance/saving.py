"""Clauses on writing: what save and delete do, and what they refuse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

import attrs
import trio

from actorflow.checkpoint.records import CheckpointID, CheckpointInfo, CheckpointKind, Commit
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError, CheckpointNotFoundError
from actorflow.testing.conformance.clauses import StorageClauses, expect_error, ids, save_all
from actorflow.testing.conformance.histories import make_commit

__all__ = ["SavingClauses"]

_HOSTILE = (
    "it's",
    '"; DROP TABLE checkpoint; --',
    "%_*?[a-z]",
    "ä\u0301\U0001f3ad\u202e",
    "a\x00b",
    " ",
    "\n",
    "A",
    "a",
)


class SavingClauses(StorageClauses):
    """Clauses on `save` and `delete`."""

    async def test_a_saved_checkpoint_comes_back_exactly(self) -> None:
        """Every field of the header and every byte of the contents are what was saved."""
        info = CheckpointInfo(
            id=CheckpointID("id"),
            parent_id=None,
            workflow_name="name",
            workflow_id="wid",
            run_id="run",
            superstep=7,
            kind=CheckpointKind.RESPONSES,
            graph_signature="sha256:abc",
            created_at=datetime(1999, 12, 31, 23, 59, 59, 123456, tzinfo=timezone(timedelta(hours=5, minutes=45))),
            derived_from=CheckpointID("elsewhere"),
            format_version=1,
        )
        contents = {"state/a": b"", "outputs/1": bytes(range(256)), "run": b"\x00"}
        commit = attrs.evolve(make_commit("id", changed=contents), info=info)
        async with self.open_storage() as storage:
            saved = await storage.save(commit)
            loaded = await storage.load("id")
            listed = await storage.list()
        assert saved == attrs.evolve(info, sequence=1, digest=saved.digest)
        assert listed == [saved]
        assert loaded.contents == contents
        assert _header_of(loaded) == saved

    async def test_sequences_of_a_workflow_id_count_from_one(self) -> None:
        """The sequence counts the checkpoints of each workflow id by itself."""
        async with self.open_storage() as storage:
            for number in range(1, 4):
                for workflow_id in ("red", "blue"):
                    commit = make_commit(f"{workflow_id}{number}", workflow_id=workflow_id)
                    assert (await storage.save(commit)).sequence == number

    async def test_concurrent_savers_get_every_sequence_once(self) -> None:
        """Twenty savers at once, over five workflow ids: no sequence is missing, none is given twice."""
        async with self.open_storage() as storage:
            given: dict[str, list[int]] = defaultdict(list)

            async def save_five(saver: int) -> None:
                for number in range(5):
                    commit = make_commit(f"{saver}-{number}", workflow_id=f"workflow-{saver % 5}")
                    given[commit.info.workflow_id].append((await storage.save(commit)).sequence)

            async with trio.open_nursery() as nursery:
                for saver in range(20):
                    nursery.start_soon(save_five, saver)
            headers = await storage.list()
        assert sorted(given) == [f"workflow-{n}" for n in range(5)]
        assert all(sorted(sequences) == list(range(1, 21)) for sequences in given.values())
        assert len(set(ids(headers))) == len(headers) == 100

    async def test_the_latest_is_the_last_written_whatever_its_time_of_day(self) -> None:
        """A clock that steps back, or stands still, changes nothing."""
        noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
        async with self.open_storage() as storage:
            await storage.save(make_commit("first", created_at=noon))
            for number, offset in enumerate((0, -3600, 0)):
                written = make_commit(f"later-{number}", "first", created_at=noon + timedelta(seconds=offset))
                await storage.save(written)
                latest = await storage.latest(workflow_id="workflow")
                assert latest is not None
                assert latest.id == written.info.id
            assert ids(await storage.list()) == ["later-2", "later-1", "later-0", "first"]

    async def test_saving_the_same_again_changes_nothing(self) -> None:
        """A retry after a lost acknowledgement returns the header that is there, and moves nothing."""
        root, step = make_commit("root"), make_commit("step", "root")
        async with self.open_storage() as storage:
            first, _ = await save_all(storage, (root, step))
            again = await storage.save(root)
            latest = await storage.latest(workflow_id="workflow")
            headers = await storage.list()
        assert again == first
        assert latest is not None
        assert latest.id == "step"
        assert ids(headers) == ["step", "root"]

    async def test_one_id_saved_by_many_at_once_is_one_checkpoint(self) -> None:
        """Retries that overtake each other agree."""
        async with self.open_storage() as storage:
            given: list[CheckpointInfo] = []

            async def save() -> None:
                given.append(await storage.save(make_commit("only")))

            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(save)
            headers = await storage.list()
        assert given == headers * 10

    async def test_an_id_taken_by_another_checkpoint_is_refused(self) -> None:
        """Another parent or another workflow id under the same id is an error, and changes nothing."""
        others = (make_commit("b", workflow_id="other"), make_commit("b"), make_commit("b", "b"))
        await self._refused(others, after=(make_commit("a"), make_commit("b", "a")))

    async def test_an_unknown_parent_is_refused(self) -> None:
        """A parent is in the same storage."""
        commits = (make_commit("b", "a"), make_commit("b", "a", full=True), make_commit("b", "b"))
        await self._refused(commits)
        async with self.open_storage() as storage:
            for commit in commits:
                await expect_error(storage.save(commit), CheckpointNotFoundError)

    async def test_a_delta_needs_a_parent_of_its_own_workflow_id(self) -> None:
        """What does not stand alone stands on a parent of the same workflow id."""
        commits = (make_commit("b", full=False), make_commit("b", "a", workflow_id="branch", full=False))
        await self._refused(commits, after=(make_commit("a"),))

    async def test_what_cannot_be_kept_exactly_is_refused(self) -> None:
        """Empty ids, text that UTF-8 cannot hold, and a time of day without offset are refused at save."""
        naive = datetime(2024, 1, 1)  # noqa: DTZ001  # that is what is refused
        await self._refused(
            (
                make_commit(""),
                make_commit("a", workflow_id=""),
                make_commit("\ud800"),
                make_commit("a", workflow_id="\ud800"),
                make_commit("a", run_id="\ud800"),
                make_commit("a", workflow_name="\ud800"),
                make_commit("a", created_at=naive),
            )
        )

    async def test_ids_may_be_any_text(self) -> None:
        """Quotes, wildcards, control characters and look-alikes are text like any other."""
        async with self.open_storage() as storage:
            for text in _HOSTILE:
                await storage.save(make_commit(text, workflow_id=text, workflow_name=text, run_id=text))
            for text in _HOSTILE:
                await self._check_found_alone(storage, text)
            await expect_error(storage.load("%"), CheckpointNotFoundError)
            await expect_error(storage.load("\ud800"), CheckpointNotFoundError)
            assert await storage.latest(workflow_id="\ud800") is None
            assert await storage.list("\ud800") == await storage.list(workflow_name="\ud800") == []

    async def test_a_megabyte_comes_back(self) -> None:
        """Large sections are kept whole, and deltas go on standing on them."""
        large = bytes(range(256)) * 4096
        async with self.open_storage() as storage:
            await storage.save(make_commit("a", changed={"state/large": large}))
            await storage.save(make_commit("b", "a", changed={"state/small": b"x"}))
            assert (await storage.load("b")).contents == {"state/large": large, "state/small": b"x"}

    async def test_one_bad_save_among_many_fails_alone(self) -> None:
        """Savers that happen to be written together do not share a failure."""
        async with self.open_storage() as storage:
            await storage.save(make_commit("root"))
            failed: list[int] = []

            async def save(number: int) -> None:
                parent = "nowhere" if number % 3 == 0 else "root"
                try:
                    await storage.save(make_commit(f"{number}", parent))
                except CheckpointError:
                    failed.append(number)

            async with trio.open_nursery() as nursery:
                for number in range(12):
                    nursery.start_soon(save, number)
            headers = await storage.children("root")
        assert sorted(failed) == [0, 3, 6, 9]
        assert sorted(ids(headers)) == sorted(str(n) for n in range(12) if n % 3)
        assert [header.sequence for header in headers] == list(range(2, 10))

    async def test_only_leaves_can_be_deleted(self) -> None:
        """What others stand on stays; a leaf goes, and with it its place in every answer."""
        async with self.open_storage() as storage:
            branch = make_commit("branch", "b", workflow_id="other", full=True)
            await save_all(storage, (make_commit("a"), make_commit("b", "a"), make_commit("c", "b"), branch))
            for inner in ("a", "b"):
                await expect_error(storage.delete(inner), CheckpointError)
            await storage.delete("c")
            await expect_error(storage.load("c"), CheckpointNotFoundError)
            await expect_error(storage.delete("c"), CheckpointNotFoundError)
            await expect_error(storage.delete("b"), CheckpointError)  # the branch still stands on it
            await storage.delete("branch")
            assert ids(await storage.children("b")) == []
            assert await storage.latest(workflow_id="other") is None
            latest = await storage.latest(workflow_id="workflow")
            assert latest is not None
            assert latest.id == "b"
            assert (await storage.load("b")).contents == {"state/last": b"b"}
            await storage.save(make_commit("c", "b"))
            assert ids(await storage.list()) == ["c", "b", "a"]

    async def _refused(self, commits: Iterable[Commit], after: Iterable[Commit] = ()) -> None:
        async with self.open_storage() as storage:
            await save_all(storage, after)
            before = await storage.list()
            for commit in commits:
                await expect_error(storage.save(commit), CheckpointError)
            assert await storage.list() == before

    async def _check_found_alone(self, storage: CheckpointStorage, text: str) -> None:
        found = await storage.load(text)
        assert found.id == found.workflow_id == found.workflow_name == found.run_id == text
        assert ids(await storage.list(text)) == ids(await storage.list(workflow_name=text)) == [text]
        assert ids(await storage.lineage(text)) == [text]


def _header_of(checkpoint: CheckpointInfo) -> CheckpointInfo:
    fields = {field.name: getattr(checkpoint, field.name) for field in attrs.fields(CheckpointInfo)}
    return CheckpointInfo(**fields)
