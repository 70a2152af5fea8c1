"""The graph signature: equal for two graphs exactly if a checkpoint of one may be restored by the other.

It covers what decides routing: executors by id and stable type name, what they handle, the edge groups in their order,
and the identity of every condition and selection. Classes of messages go by their stable names (`actorflow.core.naming`),
so a class that moved changes nothing, and the signature from before a declared rename can be computed again. A named
function is identified by its name and by the plain values it captured (atoms, enum members, types, other functions, and
containers and frozen attrs objects and dataclasses of these), so that moving or reformatting it changes nothing; a lambda,
having no name, by its compiled code, which also differs between Python's minor versions: name the conditions of graphs
whose checkpoints must outlive an upgrade.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from operator import attrgetter, itemgetter, methodcaller
from types import CodeType, EllipsisType, FunctionType, MethodType, NoneType
from typing import Any, get_origin
from uuid import UUID

import attrs

from actorflow.core.naming import Naming, stable_name
from actorflow.core.types import describe
from actorflow.graph.edges import Edge, EdgeGroup, FanInEdges, FanOutEdges, MultiSelectionEdges
from actorflow.graph.graph import Graph, Node

__all__ = ["callable_identity", "graph_signature"]

_ATOMS = frozenset(
    {
        NoneType, EllipsisType, bool, int, float, complex, str, bytes, date, datetime, time, timedelta, timezone,
        Decimal, UUID,
    }
)  # fmt: skip
_FUNCTIONS = (FunctionType, MethodType, partial)
_GETTERS = (attrgetter, itemgetter, methodcaller)


def graph_signature(graph: Graph, name_of: Naming = stable_name) -> str:
    """32 hex digits that change when routing does.

    Args:
        graph: The compiled graph.
        name_of: What classes are called; another naming than the present one gives the signature of an earlier time.
    """
    lines = [
        f"start {graph.start_id!r}",
        *sorted(_node_line(node, name_of) for node in graph.nodes.values()),
        *(_group_line(group, name_of) for group in graph.groups),
    ]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _node_line(node: Node, name_of: Naming) -> str:
    inputs = sorted(describe(each, name_of) for each in node.inputs.annotations)
    responses = sorted(
        f"{describe(request, name_of)}->{describe(response, name_of)}" for request, response in node.response_types
    )
    return f"executor {node.id!r} {node.type_name} {inputs} {responses}"


def _group_line(group: EdgeGroup, name_of: Naming) -> str:
    match group:
        case Edge():
            return f"edge {group.source!r} {group.target!r} {callable_identity(group.condition, name_of)}"
        case FanOutEdges():
            return f"fan-out {group.source!r} {group.targets}"
        case MultiSelectionEdges():
            return f"selection {group.source!r} {group.targets} {callable_identity(group.selection, name_of)}"
        case FanInEdges():
            return f"fan-in {group.sources} {group.join.target!r} {group.join.wait.value}"
        case _:
            cases = [(callable_identity(condition, name_of), target) for condition, target in group.cases]
            return f"switch {group.source!r} {cases} {group.default!r}"


def callable_identity(function: Any, name_of: Naming = stable_name) -> str:
    """What a user's function is, independent of where it lives and of this process.

    Args:
        function: Any callable; None for none.
        name_of: What classes are called.
    """
    return "-" if function is None else _Identity(name_of).of_function(function)


@attrs.define(eq=False)
class _Identity:
    """One question. What is being described already is named and not entered again: functions may capture themselves."""

    _name_of: Naming
    _open: list[Any] = attrs.Factory(list)

    def of_function(self, function: Any) -> str:
        if isinstance(function, partial):
            bound = [*map(self.of_value, function.args), self.of_value(function.keywords)]
            return f"partial({self.of_function(function.func)}, {bound})"
        if isinstance(function, MethodType):
            return f"{self.of_value(function.__self__)}.{function.__func__.__name__}"
        if isinstance(function, FunctionType):
            return self._entered(function, function.__name__, self._of_python_function)
        return getattr(function, "__name__", None) or self.of_value(function)

    def _of_python_function(self, function: FunctionType) -> str:
        captured = [self.of_value(value) for value in _captured(function)]
        if function.__name__ == "<lambda>":
            return f"lambda {self._of_code(function.__code__)} {captured}"
        return f"{function.__qualname__.rpartition('<locals>.')[2]} {captured}"

    def _of_code(self, code: CodeType) -> str:
        constants = [
            self._of_code(each) if isinstance(each, CodeType) else self.of_value(each) for each in code.co_consts
        ]
        text = f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def of_value(self, value: Any) -> str:
        """What a function captured, as far as it is plain data; of anything else the name of its type."""
        if type(value) in _ATOMS:
            return repr(value)
        if isinstance(value, type) or get_origin(value) is not None:
            return describe(value, self._name_of)
        if isinstance(value, Enum):
            return f"{self._name_of(type(value))}.{value.name}"
        if isinstance(value, _FUNCTIONS):
            return self.of_function(value)
        if isinstance(value, _GETTERS):
            return repr(value)
        return self._entered(value, self._name_of(type(value)), self._of_container)

    def _of_container(self, value: Any) -> str:
        name = self._name_of(type(value))
        if isinstance(value, (list, tuple)):
            return f"{name}[{', '.join(map(self.of_value, value))}]"
        if isinstance(value, (frozenset, set)):
            return f"{name}{{{', '.join(sorted(map(self.of_value, value)))}}}"
        if isinstance(value, dict):
            pairs = sorted(f"{self.of_value(key)}: {self.of_value(item)}" for key, item in value.items())
            return f"{name}{{{', '.join(pairs)}}}"
        fields = [f"{field}={self.of_value(getattr(value, field, None))}" for field in _field_names(type(value))]
        return f"{name}({', '.join(fields)})"

    def _entered(self, value: Any, name: str, describe_inside: Callable[[Any], str]) -> str:
        if any(value is each for each in self._open):
            return name
        self._open.append(value)
        try:
            return describe_inside(value)
        finally:
            self._open.pop()


def _field_names(kind: type) -> list[str]:
    if getattr(kind, "__hash__", None) in (
        None,
        object.__hash__,
    ):  # no value: its fields may change while workflows run
        return []
    if attrs.has(kind):
        return [field.name for field in attrs.fields(kind)]
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def _captured(function: FunctionType) -> list[Any]:
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            cells.append(None)
    return [*defaults, *cells]
