"""The command line: quick help, and one clear line where its extra is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

import actorflow

SOURCE = Path(actorflow.__file__).parents[1]


def python(code: str) -> subprocess.CompletedProcess[str]:
    prologue = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); sys.argv[:] = ['actorflow', '--help']\n"
    return subprocess.run(
        [sys.executable, "-c", prologue + code], check=False, capture_output=True, text=True, timeout=60
    )


def test_help_names_the_demo():
    done = python("from actorflow.__main__ import main; main()")

    assert done.returncode == 0
    assert "demo" in done.stdout


def test_the_module_is_the_same_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "actorflow", "--help"], check=False, capture_output=True, text=True, cwd=SOURCE
    )

    assert done.returncode == 0
    assert "demo" in done.stdout


@pytest.mark.parametrize("asked", [["--help"], ["demo", "--help"], ["--version"]], ids=" ".join)
def test_what_only_tells_imports_neither_trio_nor_the_runtime(asked):
    done = python(
        f"""
sys.argv[1:] = {asked!r}
from actorflow.__main__ import main
try:
    main()
finally:
    slow = {{"trio", "apsw", "structlog", "actorflow.workflow", "actorflow.demo.command"}}
    assert not slow & {{*sys.modules}}, slow & {{*sys.modules}}
"""
    )

    assert done.returncode == 0, done.stderr


def test_without_the_extra_there_is_one_line_that_says_what_to_install():
    for missing in ("cyclopts", "rich"):
        done = python(f"sys.modules[{missing!r}] = None\nfrom actorflow.__main__ import main; main()")

        assert done.returncode == 1
        assert done.stderr == "The command line needs an extra: pip install 'actorflow[cli]'\n"
        assert not done.stdout


def test_another_missing_module_is_not_blamed_on_the_extra():
    done = python("sys.argv[1:] = ['demo']; sys.modules['trio'] = None\nfrom actorflow.__main__ import main; main()")

    assert done.returncode == 1
    assert "No module named 'trio'" in done.stderr or "import of trio halted" in done.stderr
