"""Mutations of the code: one piece of text in one function or constant is another, for the length of a test."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

import attrs
import pytest


@attrs.frozen
class Mutation:
    """What is taken out, and which test has to fail for it.

    Attributes:
        name: What is taken out, in a few words.
        site: The function, method or text that is changed, by its dotted name: where it is looked up, not where it was made.
        old: A piece of it; one that is not there any more fails the test, so that a table goes with the code.
        new: What is there instead.
        caught_by: The test that fails.
        arguments: What it is called with, beside fixtures that are known.
    """

    name: str
    site: str
    old: str
    new: str
    caught_by: str
    arguments: Mapping[str, Any] = attrs.Factory(dict)

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Change it."""
        owner, name = _owner_of(self.site)
        monkeypatch.setattr(owner, name, self._changed(vars(owner)[name], name))

    def _changed(self, original: Any, name: str) -> Any:
        if isinstance(original, str):
            return self._replaced(original)
        function = inspect.unwrap(original)
        source = self._replaced(textwrap.dedent(inspect.getsource(function)))
        made: dict[str, object] = {}
        exec(compile(f"from __future__ import annotations\n{source}", self.site, "exec"), function.__globals__, made)
        return made[name]

    def _replaced(self, text: str) -> str:
        assert text.count(self.old) == 1, f"{self.name}: {self.old!r} is {text.count(self.old)} times in {self.site}"
        return text.replace(self.old, self.new)


def _owner_of(site: str) -> tuple[Any, str]:
    """Where a dotted name leads, but for its last part; and that part."""
    *path, name = site.split(".")
    for depth in range(len(path), 0, -1):
        try:
            owner = importlib.import_module(".".join(path[:depth]))
        except ModuleNotFoundError:
            continue
        for each in path[depth:]:
            owner = getattr(owner, each)
        return owner, name
    raise LookupError(f"no module in {site!r}")
