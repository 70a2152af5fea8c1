"""What is measured: lines, functions, classes and cyclomatic complexity, read off the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import attrs

__all__ = ["ModuleMeasure", "PackageMeasure", "measure_module", "ranked", "summed"]

_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@attrs.frozen
class ModuleMeasure:
    """The measure of one file. One that does not parse counts as unreadable, and otherwise as nothing."""

    lines: int = 0
    functions: int = 0
    classes: int = 0
    complexity: int = 0
    unreadable: bool = False


@attrs.frozen
class PackageMeasure:
    """The measure of a package: the sums over its modules.

    Attributes:
        name: The package.
        modules: Its files that could be read.
        lines: Lines of source.
        functions: Functions and methods.
        classes: Classes.
        complexity: The sum of the cyclomatic complexities of its functions.
        unreadable: Its files that could not be read.
    """

    name: str
    modules: int
    lines: int
    functions: int
    classes: int
    complexity: int
    unreadable: int = 0


def measure_module(path: str) -> ModuleMeasure:
    """Parse one file and measure it; takes up to a second, so call it in a worker thread."""
    try:
        source = Path(path).read_bytes()
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError):  # gone, not this Python, null bytes, nested too deep
        return ModuleMeasure(unreadable=True)
    functions, classes, branches = _count(tree)
    return ModuleMeasure(len(source.splitlines()), functions, classes, functions + branches)


def summed(name: str, modules: Iterable[ModuleMeasure]) -> PackageMeasure:
    """The measure of a package from those of its modules."""
    every = list(modules)
    return PackageMeasure(
        name,
        modules=sum(not each.unreadable for each in every),
        lines=sum(each.lines for each in every),
        functions=sum(each.functions for each in every),
        classes=sum(each.classes for each in every),
        complexity=sum(each.complexity for each in every),
        unreadable=sum(each.unreadable for each in every),
    )


def ranked(measures: Iterable[PackageMeasure]) -> tuple[PackageMeasure, ...]:
    """The most complex first; by name where they are equal."""
    return tuple(sorted(measures, key=lambda each: (-each.complexity, each.name)))


def _count(tree: ast.Module) -> tuple[int, int, int]:
    """Functions, classes, and branches inside functions; what a module or class does while it is defined is not counted."""
    functions = classes = branches = 0
    nodes: list[tuple[ast.AST, bool]] = [(tree, False)]
    while nodes:
        node, inside = nodes.pop()
        if isinstance(node, _FUNCTIONS):
            functions += 1
            inside = True
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif inside:
            branches += _branches(node)
        nodes.extend((child, inside) for child in ast.iter_child_nodes(node))
    return functions, classes, branches


def _branches(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return isinstance(node, _BRANCHES)
