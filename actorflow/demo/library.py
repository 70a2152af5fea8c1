"""What there is to measure: the packages of a folder of Python source."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

__all__ = ["NoSourceError", "Package", "find_packages", "first_wave", "standard_library"]

# Installed packages are not the library's own; tests and test data are many, and say little of it.
_SKIPPED = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})


class NoSourceError(Exception):
    """A folder holds no Python source."""


@attrs.frozen
class Package:
    """One unit of work: a top-level package, or a top-level module.

    Attributes:
        name: As one would import it.
        paths: Its files, sorted.
        bytes: Their size.
        number: Its place in the order of measuring, from 1.
        of: How many packages there are.
    """

    name: str
    paths: tuple[str, ...]
    bytes: int
    number: int = 0
    of: int = 0


def standard_library() -> Path:
    """The folder of the standard library of the Python that runs this."""
    return Path(sysconfig.get_path("stdlib"))


def find_packages(folder: Path) -> list[Package]:
    """List the packages of a folder by name, tests left out.

    Raises:
        NoSourceError: There are none.
    """
    found = [_package(entry) for entry in sorted(folder.iterdir()) if entry.name not in _SKIPPED]
    packages = [package for package in found if package.paths]
    if not packages:
        raise NoSourceError(f"{folder} holds no Python source")
    return [attrs.evolve(each, number=number, of=len(packages)) for number, each in enumerate(packages, 1)]


def first_wave(packages: Sequence[Package], size: int) -> int:
    """Count how many packages, from the first on, make about `size` bytes; at least one."""
    total = 0
    for count, package in enumerate(packages):
        total += package.bytes
        if total > size:
            return max(count, 1)
    return len(packages)


def _package(entry: Path) -> Package:
    paths = sorted(_sources(entry))
    return Package(entry.stem, tuple(map(str, paths)), sum(path.stat().st_size for path in paths))


def _sources(entry: Path) -> Iterator[Path]:
    if entry.is_file():
        if entry.suffix == ".py":
            yield entry
    elif entry.is_dir() and not entry.is_symlink() and entry.name not in _SKIPPED:
        for inner in entry.iterdir():
            yield from _sources(inner)
