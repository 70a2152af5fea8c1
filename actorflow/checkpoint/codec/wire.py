"""The words both directions of the codec share: extension codes, the packer, and how a value is refused.

The stored form is MessagePack. None, bool, 64-bit int, float, str, bytes, list, and dict with such keys are MessagePack's
own; everything else is an extension whose payload is MessagePack again. Codes are part of the stored format: never reuse.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from msgspec.msgpack import Encoder

__all__ = ["Malformed", "Refused", "collide", "pack"]

TUPLE = 1
SET = 2
FROZENSET = 3
PAIRS = 4
BIG_INT = 5
SURROGATES = 6
OBJECT = 7
MEMBER = 8
FLAG = 9
DATETIME = 10
DATE = 11
TIME = 12
TIMEDELTA = 13
TIMEZONE = 14
ZONE = 15
DECIMAL = 16
UUID_BYTES = 17

pack: Callable[[object], bytes] = Encoder().encode


_COLLISIONS = 1000


def collide(elements: Collection[object]) -> bool:
    """Whether so many elements have the hash of another one that a set of them would take quadratic time to build."""
    return len(elements) > _COLLISIONS and len(elements) - len(set(map(hash, elements))) > _COLLISIONS


class Malformed(Exception):  # noqa: N818  a verdict on bytes; what the user gets is a CodecError
    """Stored bytes that say something no writer of this registry says."""


class Refused(Exception):  # noqa: N818  a verdict on a value; what the user gets is a CodecError
    """A value that cannot be stored; collects its path while it leaves the walk.

    Args:
        problem: What is wrong, and the way out.
    """

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self._segments: list[str] = []
        super().__init__(problem)

    def under(self, segment: str) -> Refused:
        """Note one more container around the value, innermost first."""
        self._segments.append(segment)
        return self

    @property
    def path(self) -> str:
        """The way from the whole to the value; the middle of a very long one is left out."""
        segments = self._segments[::-1]
        if len(segments) > 20:
            segments = [*segments[:10], "...", *segments[-3:]]
        return "".join(segments)
