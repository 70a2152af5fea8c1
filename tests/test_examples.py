"""Every example runs, as a program of its own, and prints what it says it prints."""

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def promised(example: Path) -> str:
    """What stands under "Prints:" in the docstring."""
    docstring = ast.get_docstring(ast.parse(example.read_text()), clean=True) or ""
    _, _, prints = docstring.partition("Prints:\n")
    return textwrap.dedent(prints).strip()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_promises(example, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", example],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == promised(example)
    assert promised(example)
    assert not list(tmp_path.iterdir())


def test_there_are_examples():
    assert {"hello", "loop", "approval", "resume", "mock_clock"} <= {path.stem for path in EXAMPLES}
