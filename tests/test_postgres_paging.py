"""What a page, the head or a prune of a long history costs on the server: the rows it wants, not those before it (P10)."""

from __future__ import annotations

import pytest

from actorflow.checkpoint.headers import Page
from actorflow.checkpoint.postgres import pruning, raw_rows, rows
from actorflow.checkpoint.postgres.storage import PostgresCheckpointStorage

# One workflow id has a third of 9,000 checkpoints, a hundred others have the rest, interleaved.
FILL = (
    "SET session_replication_role = replica",  # no foreign keys, for speed
    "INSERT INTO definition (name) VALUES ('name')",
    "INSERT INTO workflow (id) SELECT convert_to('w' || n, 'UTF8') FROM generate_series(1, 101) n",
    """
    INSERT INTO run (id, workflow, definition, graph_signature)
    SELECT convert_to('r' || n, 'UTF8'), n, 1, '0' FROM generate_series(1, 101) n
    """,
    """
    INSERT INTO checkpoint (id, workflow, definition, run, sequence, superstep, kind, created_at, format_version,
                            is_full, payload)
    SELECT convert_to('c' || n, 'UTF8'), w, 1, w, row_number() OVER (PARTITION BY w ORDER BY n), 1, 1, n, 1, TRUE, '\\x9180'
    FROM (SELECT n, CASE WHEN n % 3 = 0 THEN 101 ELSE 1 + (n * 7919) % 100 END AS w FROM generate_series(1, 9000) n) x
    ORDER BY n
    """,
)
LONG, SHORT, LIMIT = "w101", "w5", 50


@pytest.fixture(params=["analyzed", "not analyzed"])
async def plans(database, request):
    """A connection that notes how many rows each step of a plan came to."""
    with PostgresCheckpointStorage(database.dsn, schema=database.schema) as storage:
        await storage.list()
        with database.session() as session:
            for statement in FILL:
                session.execute(statement)
            if request.param == "analyzed":
                session.execute("ANALYZE")
        yield Plans(storage)


class Plans:
    """A session of a storage, and what its statements went through."""

    def __init__(self, storage):
        self.connection = storage._others._idle[0]
        self.most = 0

    def execute(self, query, values=None, **options):
        explained = self.connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", values).fetchone()[0]
        self.most = max(self.most, _most_rows(explained[0]["Plan"]))
        return self.connection.execute(query, values, **options)

    def took(self):
        most, self.most = self.most, 0
        return most


def _most_rows(plan):
    # A scan of the few workflow ids or names, to be hashed, is no walk through a history.
    here = plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0) * plan["Actual Loops"]
    history = plan["Node Type"] in ("Sort", "Limit") or plan.get("Relation Name") == "checkpoint"
    return max([here if history else 0, *(_most_rows(below) for below in plan.get("Plans", ()))])


FILTERS = {
    "long": {"workflow_id": LONG, "workflow_name": None},
    "short": {"workflow_id": SHORT, "workflow_name": None},
    "long by name": {"workflow_id": LONG, "workflow_name": "name"},
    "name": {"workflow_id": None, "workflow_name": "name"},
    "all": {"workflow_id": None, "workflow_name": None},
}


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
async def test_a_page_anywhere_in_a_history_goes_through_a_page(plans, filters):
    """P10: the newest, one in the middle, the oldest, and one that begins at a checkpoint of another workflow id."""
    for before in (None, "c6000", "c4500", "c4499", "c300"):
        rows.list_headers(plans, Page(**filters, limit=LIMIT, before=before), "here")
        assert plans.took() <= LIMIT


async def test_pages_meet_end_to_end(plans):
    seen, before = [], None
    while page := rows.list_headers(plans, Page(LONG, None, 700, before), "here"):
        seen += page
        before = page[-1].id
    assert [info.sequence for info in seen] == [*range(3000, 0, -1)]


async def test_the_head_and_a_header_go_through_one_row(plans):
    rows.latest(plans, LONG, 100)
    assert plans.took() == 1
    rows.load(plans, "c4500", 100, "here")
    assert plans.took() == 1


@pytest.mark.parametrize("after", [0, 4500, 8900])
async def test_a_page_of_raw_rows_goes_through_a_page(plans, after):
    plans.execute(raw_rows._ALL, (100, after, LIMIT))
    for name in (LONG, SHORT):
        plans.execute(raw_rows._OF_WORKFLOW, (100, after, name.encode(), LIMIT))
    assert plans.took() <= LIMIT


async def test_a_step_of_a_prune_goes_through_what_it_keeps_and_what_it_takes(plans):
    for below in (2**62, 1500, 10):
        plans.execute(pruning._CANDIDATES, {"workflow": 101, "below": below, "stay": 9, "limit": LIMIT})
        assert plans.took() <= LIMIT + 9 + 1
