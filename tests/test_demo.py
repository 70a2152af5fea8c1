"""The demo does what it says: it measures a library, and a run that is cut off anywhere and taken up again prints the
same table (P6, R07). Parts are tried in this process, kill -9 and Ctrl-C on processes of their own.
"""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorflow.demo
from actorflow import LATEST, InMemoryCheckpointStorage, SqliteCheckpointStorage
from actorflow.demo.executors import Library, PackageMeasured, Ranking
from actorflow.demo.library import NoSourceError, Package, find_packages, first_wave, standard_library
from actorflow.demo.measure import ModuleMeasure, PackageMeasure, measure_module, ranked, summed
from actorflow.demo.workflow import build_workflow
from actorflow.events import CheckpointSavedEvent

MODULE = """
class Shape:
    def area(self, sides):
        if sides and sides[0] > 0 or not sides:
            return [s for s in sides if s if s > 1]
        for s in sides:
            try:
                s()
            except ValueError:
                pass

async def fetch(x):
    def inner():
        return 1 if x else 2
    match x:
        case 1: pass
        case _: pass
    while x: pass

if True: pass
"""


def make_library(folder: Path, packages: int, lines: int = 3) -> Path:
    for number in range(packages):
        package = folder / f"package{number:02}"
        package.mkdir(parents=True)
        functions = "".join(f"def f{each}(x):\n    return x if x else {each}\n" for each in range(lines + number))
        (package / "__init__.py").write_text(functions)
    (folder / "single.py").write_text(MODULE)
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return make_library(tmp_path / "library", packages=7)


# What is measured.


def test_functions_classes_and_branches_are_counted(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(MODULE)

    measured = measure_module(str(path))

    area = 1 + 1 + 2 + 1 + 2 + 1 + 1  # if, and/or, comprehension, its two ifs, for, except
    fetch, inner = 1 + 2 + 1, 1 + 1
    assert measured == ModuleMeasure(lines=20, functions=3, classes=1, complexity=area + fetch + inner)


@pytest.mark.parametrize("source", [b"def (:", b"x = '\0'", b"\xff\xfe"])
def test_a_file_that_does_not_parse_is_counted_as_unreadable(tmp_path, source):
    path = tmp_path / "broken.py"
    path.write_bytes(source)

    assert measure_module(str(path)) == ModuleMeasure(unreadable=True)
    assert measure_module(str(tmp_path / "gone.py")) == ModuleMeasure(unreadable=True)


def test_a_package_is_the_sum_of_its_modules():
    measured = summed("p", [ModuleMeasure(1, 2, 3, 4), ModuleMeasure(10, 20, 30, 40), ModuleMeasure(unreadable=True)])

    assert measured == PackageMeasure("p", modules=2, lines=11, functions=22, classes=33, complexity=44, unreadable=1)


def test_equal_packages_rank_by_name():
    one, other, top = (PackageMeasure(name, 1, 1, 1, 1, value) for name, value in [("b", 1), ("a", 1), ("c", 2)])

    assert ranked([one, other, top]) == (top, other, one)


def test_packages_are_found_by_name_without_tests_and_without_what_was_installed(library):
    for name in ("test", "site-packages", "__pycache__", "data"):
        (library / name).mkdir()
    (library / "test" / "test_x.py").write_text("")
    (library / "site-packages" / "x.py").write_text("")
    (library / "package00" / "tests").mkdir()
    (library / "package00" / "tests" / "test_y.py").write_text("")
    (library / "data" / "notes.txt").write_text("")

    packages = find_packages(library)

    assert [package.name for package in packages] == [*(f"package{number:02}" for number in range(7)), "single"]
    assert [(package.number, package.of) for package in packages] == [(number, 8) for number in range(1, 9)]
    assert packages[0].paths == (str(library / "package00" / "__init__.py"),)


def test_a_folder_without_source_is_named(tmp_path):
    with pytest.raises(NoSourceError, match=tmp_path.name):
        find_packages(tmp_path)


def test_every_machine_has_a_standard_library():
    assert {"json", "asyncio", "ast"} <= {package.name for package in find_packages(standard_library())}


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 200))
def test_a_wave_is_as_large_as_fits_and_never_empty(sizes, limit):
    packages = [Package("p", (), size) for size in sizes]

    count = first_wave(packages, limit)

    assert count >= 1
    assert count == 1 or sum(sizes[:count]) <= limit
    assert count == len(sizes) or sum(sizes[: count + 1]) > limit


# The workflow.


async def measure(library: Path, **options) -> Ranking:
    result = await build_workflow(InMemoryCheckpointStorage(), **options).run(Library(str(library)))
    (ranking,) = result.outputs
    return ranking


async def test_every_package_is_ranked_whatever_the_waves_and_the_concurrency(library):
    wanted = ranked(summed(package.name, map(measure_module, package.paths)) for package in find_packages(library))

    for wave_size in (1, 400, 10**9):
        for concurrency in (1, 3):
            ranking = await measure(library, wave_size=wave_size, concurrency=concurrency)
            assert ranking.rows == wanted


async def test_a_run_cut_off_after_any_checkpoint_ends_in_the_same_ranking(library, tmp_path):
    """P6: whatever checkpoint is the last, another workflow object over the same file goes on from it."""
    wanted = await measure(library)
    cuts = 0
    ended = False
    while not ended:
        cuts += 1
        with SqliteCheckpointStorage(tmp_path / f"{cuts}.db") as storage:
            ended = await cut_off(build_workflow(storage, wave_size=600), library, after=cuts)
            result = await build_workflow(storage, wave_size=600).run(checkpoint_id=LATEST)
        assert result.outputs == [wanted]
    assert cuts > 10


async def cut_off(workflow, library: Path, *, after: int) -> bool:
    saved = 0
    async with workflow.stream(Library(str(library))) as run:
        async for event in run.events:
            saved += isinstance(event, CheckpointSavedEvent)
            if saved == after:
                return False
    return True


async def test_a_resumed_run_measures_only_what_is_left(library):
    storage = InMemoryCheckpointStorage()
    workflow = build_workflow(storage, wave_size=600)
    await cut_off(workflow, library, after=8)  # entry, two waves of three supersteps, the listing of the third wave

    async with build_workflow(storage, wave_size=600).stream(checkpoint_id=LATEST) as run:
        measured = [event.number async for event in run.events if isinstance(event, PackageMeasured)]

    everything = len(find_packages(library))
    assert 0 < len(measured) < everything
    assert sorted(measured) == list(range(everything - len(measured) + 1, everything + 1))


# The command, in a process of its own.


def command(*arguments: object, home: Path) -> list[str]:
    home.mkdir(exist_ok=True)
    return [sys.executable, "-m", "actorflow", "demo", *map(str, arguments)]


def environment(home: Path) -> dict[str, str]:
    source = str(Path(actorflow.demo.__file__).parents[2])
    return {**os.environ, "PYTHONPATH": source, "XDG_STATE_HOME": str(home / "state"), "COLUMNS": "100"}


def demo(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, home=home),
        check=False,
        capture_output=True,
        text=True,
        cwd=home,
        env=environment(home),
        timeout=60,
    )


def demo_ended_by(number: signal.Signals, lines: int, *arguments: object, home: Path) -> tuple[int, str]:
    """Send a signal to the command as soon as it has printed so many lines of progress."""
    process = subprocess.Popen(
        command(*arguments, home=home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home,
        env=environment(home),
    )  # fmt: skip
    seen = "".join(process.stderr.readline() for _ in range(lines + 1))
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    return process.returncode, seen + rest


@pytest.fixture(scope="module")
def large_library(tmp_path_factory) -> Path:
    """Large enough for several waves of the command's own size, and for a signal to come in time."""
    return make_library(tmp_path_factory.mktemp("large") / "library", packages=40, lines=350)


@pytest.fixture(scope="module")
def uninterrupted(large_library, tmp_path_factory) -> str:
    done = demo("--library", large_library, home=tmp_path_factory.mktemp("home"))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("lines", [0, 5])
def test_a_killed_demo_goes_on_to_the_same_table(large_library, uninterrupted, tmp_path, lines):
    """R07: kill -9 at several moments; before the first checkpoint there is nothing to resume, and it says so."""
    code, _ = demo_ended_by(signal.SIGKILL, lines, "--library", large_library, home=tmp_path)
    assert code == -signal.SIGKILL

    resumed = demo("--resume", home=tmp_path)

    if lines == 0 and resumed.returncode == 1:
        assert "Nothing to resume" in resumed.stderr
        resumed = demo("--library", large_library, home=tmp_path)
    assert resumed.stdout == uninterrupted


def test_ctrl_c_says_how_to_go_on_and_going_on_gives_the_same_table(large_library, uninterrupted, tmp_path):
    database = tmp_path / "mine.db"

    code, told = demo_ended_by(
        signal.SIGINT, 3, "--library", large_library, "--database", database, home=tmp_path / "home"
    )
    resumed = demo("--resume", "--database", database, home=tmp_path / "home")

    assert code == 130
    assert f"actorflow demo --resume --database {database}" in told
    assert "Traceback" not in told
    assert resumed.stdout == uninterrupted


def test_a_finished_demo_prints_its_table_again(library, tmp_path):
    first = demo("--library", library, home=tmp_path)

    again = demo("--resume", home=tmp_path)

    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert "measured" not in again.stderr


def test_without_resume_it_starts_afresh_and_keeps_the_checkpoints_of_before(library, tmp_path):
    database = tmp_path / "demo.db"
    demo("--library", library, "--database", database, home=tmp_path)
    (library / "added.py").write_text(MODULE)

    afresh = demo("--library", library, "--database", database, home=tmp_path)

    assert "added" in afresh.stdout

    async def entries() -> list[str]:
        with SqliteCheckpointStorage(database) as storage:
            return [info.kind for info in await storage.list() if info.parent_id is None]

    assert trio.run(entries) == ["entry", "entry"]


def test_the_output_is_the_table_and_progress_goes_to_the_error_stream(library, tmp_path):
    done = demo("--library", library, "--top", 2, home=tmp_path)

    title, head, first, second, foot = done.stdout.splitlines()
    assert title.strip() == "The most complex packages"
    assert head.split() == ["package", "modules", "lines", "functions", "classes", "complexity"]
    assert first.split() == ["1", "package06", "1", "18", "9", "0", "18"]
    assert second.split() == ["2", "package05", "1", "16", "8", "0", "16"]
    assert foot.split()[:4] == ["all", "8", "packages", "8"]
    assert "measured 8 of 8 packages" in done.stderr


def test_the_default_database_is_in_the_state_folder_and_the_current_folder_stays_clean(library, tmp_path):
    home = tmp_path / "home"

    done = demo("--library", library, home=home)

    assert [entry.name for entry in home.iterdir()] == ["state"]
    assert (home / "state" / "actorflow" / "demo.db").exists()
    assert str(home / "state" / "actorflow" / "demo.db") in done.stderr


def test_resuming_nothing_says_so_and_leaves_no_file(tmp_path):
    done = demo("--resume", "--database", tmp_path / "none.db", home=tmp_path)

    assert done.returncode == 1
    database = tmp_path / "none.db"
    start = f"actorflow demo --database {database}"
    assert done.stderr.splitlines() == [f"Nothing to resume in {database}; start with: {start}"]
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("what", ["a folder without source", "a file of somebody else"])
def test_what_cannot_work_is_one_line_and_exit_1(library, tmp_path, what):
    empty, database = tmp_path / "empty", tmp_path / "demo.db"
    empty.mkdir()
    if what == "a file of somebody else":
        database.write_bytes(b"not a database at all" * 100)

    folder = empty if what == "a folder without source" else library
    done = demo("--library", folder, "--database", database, home=tmp_path)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert "Traceback" not in done.stderr


def test_the_demo_is_written_against_the_public_names_alone():
    public = {"actorflow", "actorflow.events", "actorflow.errors"}
    for path in Path(actorflow.demo.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("actorflow"):
                assert node.module in public or node.module.startswith("actorflow.demo."), (path.name, node.module)
