"""The README and the guide tell the truth: every Python block in them runs, and prints what the block below it says.

The blocks of a page run in order, as one program. A ``text`` block directly below a Python block is what that one
prints. Links to files of the project lead somewhere.
"""

import contextlib
import io
import itertools
import re
import sys
import types
from pathlib import Path

import attrs
import pytest

import actorflow.errors
import actorflow.events
import actorflow.storage
import actorflow.testing

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


@attrs.frozen
class Block:
    line: int
    code: str
    prints: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    found = []
    for fence, following in itertools.zip_longest(fences, fences[1:]):
        if fence[1] != "python":
            continue
        prints = None
        if following is not None and following[1] == "text" and not text[fence.end() : following.start()].strip():
            prints = following[2].strip()
        found.append(Block(text.count("\n", 0, fence.start(2)), fence[2], prints))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_snippet_of_a_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    if page.stem == "postgres":
        monkeypatch.setenv("DATABASE", request.getfixturevalue("postgres_dsn"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for programs that a page starts
    module = types.ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks(page):
        printed = io.StringIO()
        # Empty lines before the code make the line numbers of a traceback those of the page.
        code = compile("\n" * block.line + block.code, str(page), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(printed):
            exec(code, module.__dict__)
        if block.prints is not None:
            assert printed.getvalue().strip() == block.prints, f"{page.name}, the block at line {block.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_readme_shows_a_program_and_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert blocks(ROOT / "README.md")[0].prints
    assert "pip install -e '.[cli]' && actorflow demo" in readme
    assert "pip install -e '.[dev]' && pytest" in readme


def test_every_rule_of_supervision_has_a_test():
    rules = re.findall(r"^\| (S\d\d) \|", (ROOT / "docs" / "supervision.md").read_text(encoding="utf-8"), re.MULTILINE)
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))

    assert rules == [f"S{number:02}" for number in range(1, len(rules) + 1)]
    assert [rule for rule in rules if f"def test_{rule.lower()}_" not in tests] == []


@pytest.mark.parametrize(
    "module", [actorflow, actorflow.events, actorflow.errors, actorflow.testing, actorflow.storage]
)
def test_the_reference_has_every_public_name(module):
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")

    assert [name for name in module.__all__ if f"- `{name}`" not in reference] == []
