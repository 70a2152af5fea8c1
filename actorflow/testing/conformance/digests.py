"""Clauses on the digest chain: what a storage computes in `save`, and keeps whatever happens to the parent."""

from __future__ import annotations

from datetime import timedelta

import attrs

from actorflow.checkpoint.digests import chained
from actorflow.checkpoint.records import CheckpointID, CheckpointInfo, CheckpointKind, Commit
from actorflow.checkpoint.storage import CheckpointStorage
from actorflow.errors import CheckpointError
from actorflow.testing.conformance.clauses import StorageClauses, expect_error, save_all
from actorflow.testing.conformance.histories import RandomHistory, make_commit

__all__ = ["DigestClauses"]


class DigestClauses(StorageClauses):
    """Clauses on `CheckpointInfo.digest`."""

    async def test_a_digest_seals_a_checkpoint_and_chains_to_its_parent(self) -> None:
        """As `chained` computes it, across branches; whatever digest the commit brings along."""
        for seed in range(4):
            async with self.open_storage() as storage:
                history = RandomHistory(500 + seed)
                for _ in range(25):
                    commit = history.next_commit()
                    claimed = attrs.evolve(commit, info=attrs.evolve(commit.info, digest="ab" * 32))
                    saved = await storage.save(claimed)
                    assert saved == history.expected[saved.id].info
                assert await storage.list() == [one.info for one in history.expected.values()][::-1]

    async def test_a_digest_tells_checkpoints_apart_by_every_field(self) -> None:
        """Change one thing in a commit, and it gets another digest."""
        seen: set[str] = set()
        variants = _variants()
        for commit in variants:
            async with self.open_storage() as storage:
                await storage.save(make_commit("root"))
                seen.add((await storage.save(commit)).digest)
        assert len(seen) == len(variants)

    async def test_a_retry_of_a_save_returns_the_digest_that_is_there(self) -> None:
        """Also after the parent went: what is there is not computed anew."""
        commits = [make_commit("a"), make_commit("b", "a"), make_commit("c", "b")]
        async with self.open_storage() as storage:
            saved = await save_all(storage, commits)
            assert await save_all(storage, commits) == saved
            await storage.prune(keep_last=1)
            assert (await storage.save(commits[-1])).digest == saved[-1].digest != ""

    async def test_a_prune_keeps_the_digests_of_what_stays(self) -> None:
        """Whether it is rewritten or was full before, its children chain to the digest it had."""
        async with self.open_storage() as storage:
            saved = await save_all(storage, _branching())
            await storage.prune(workflow_id="workflow", keep_last=1)
            for info in (await storage.load("c"), await storage.load("full")):
                assert (info.parent_id, info.derived_from) == (None, "b")
                assert info.digest == next(one.digest for one in saved if one.id == info.id)
            for commit in (make_commit("d", "c"), make_commit("next", "full", workflow_id="branch")):
                assert await storage.save(commit) == await _expected(storage, commit)

    async def test_a_save_refused_changes_no_digest(self) -> None:
        """Another checkpoint under the same id leaves the one that is there, and its digest."""
        async with self.open_storage() as storage:
            saved = await save_all(storage, (make_commit("a"), make_commit("b", "a")))
            await expect_error(storage.save(make_commit("b", workflow_id="other")), CheckpointError)
            assert await storage.list() == saved[::-1]


def _variants() -> list[Commit]:
    one = make_commit("x", "root")
    headers = [
        attrs.evolve(one.info, workflow_name="other"),
        attrs.evolve(one.info, run_id="other"),
        attrs.evolve(one.info, graph_signature="other"),
        attrs.evolve(one.info, created_at=one.info.created_at + timedelta(microseconds=1)),
        attrs.evolve(one.info, superstep=2),
        attrs.evolve(one.info, kind=CheckpointKind.RESPONSES),
        attrs.evolve(one.info, derived_from=CheckpointID("elsewhere")),
    ]
    return [
        one,
        *(attrs.evolve(one, info=info) for info in headers),
        make_commit("y", "root", changed={"state/last": b"x"}),
        make_commit("x", "root", changed={"state/last": b"y"}),
        make_commit("x", "root", full=True),
        make_commit("x"),
        make_commit("x", "root", workflow_id="other", full=True),
    ]


def _branching() -> list[Commit]:
    return [
        make_commit("a", changed={"state/x": b"1"}),
        make_commit("b", "a"),
        make_commit("full", "b", workflow_id="branch", full=True),
        make_commit("c", "b"),
    ]


async def _expected(storage: CheckpointStorage, commit: Commit) -> CheckpointInfo:
    parent = await storage.load(commit.info.parent_id or "")
    info = attrs.evolve(commit.info, sequence=parent.sequence + 1)
    return chained(info, commit.payload, commit.full, parent.digest)
