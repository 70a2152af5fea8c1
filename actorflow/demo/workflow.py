"""The graph of the demo.

One lister sends a wave of packages to one measurer, which works on several at once; the join waits for the wave's mark
and for all its measures, and hands them to the ranker as one list; the ranker asks the lister for the next wave. So a
wave is three supersteps, each ends in a checkpoint, and a kill undoes no more than the wave under way.

    lister --Package--> measurer --PackageMeasure--> [join] --> ranker
       |                                                ^         |
       +------------------------Wave--------------------+         |
       ^---------------------------NextWave-----------------------+
"""

from __future__ import annotations

from actorflow import CheckpointStorage, Workflow, WorkflowBuilder
from actorflow.demo.executors import WAVE_SIZE, Lister, Measurer, Ranker

__all__ = ["WORKFLOW_ID", "build_workflow"]

WORKFLOW_ID = "demo"
"""The durable identity: a run in another process goes on where the last one of this id stopped."""

_CONCURRENCY = 4
_ENOUGH = 1_000_000  # supersteps; the loop ends with the library, however large


def build_workflow(
    storage: CheckpointStorage, *, concurrency: int = _CONCURRENCY, wave_size: int = WAVE_SIZE
) -> Workflow:
    """Make the demo's workflow.

    Args:
        storage: Where its checkpoints go.
        concurrency: How many packages are measured at once.
        wave_size: Bytes of source in a wave.
    """
    return (
        WorkflowBuilder(
            name="measure a library",
            start_executor=Lister("lister", wave_size=wave_size),
            checkpoint_storage=storage,
            max_supersteps=_ENOUGH,
        )
        .add_edge("lister", Measurer("measurer", concurrency=concurrency))
        .add_fan_in_edges(["lister", "measurer"], Ranker("ranker"))
        .add_edge("ranker", "lister")
        .build(id=WORKFLOW_ID)
    )
