"""The graph signature: equal for two graphs exactly if a checkpoint of one may be restored by the other (F42).

It covers what decides routing: executors by id and stable type name, what they handle, the edge groups in their order,
and the identity of every condition and selection. A named function is identified by its name and by the plain values it
captured, so that moving or reformatting it changes nothing; a lambda, having no name, by its compiled code, which also
differs between Python's minor versions: name the conditions of graphs whose checkpoints must outlive an upgrade.
"""

from __future__ import annotations

import hashlib
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from actorflow.core.types import describe
from actorflow.graph.edges import Edge, EdgeGroup, FanInEdges, FanOutEdges, MultiSelectionEdges
from actorflow.graph.graph import Graph, Node

__all__ = ["callable_identity", "graph_signature"]


def graph_signature(graph: Graph) -> str:
    """32 hex digits that change when routing does.

    Args:
        graph: The compiled graph.
    """
    lines = [
        f"start {graph.start_id!r}",
        *sorted(map(_node_line, graph.nodes.values())),
        *map(_group_line, graph.groups),
    ]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _node_line(node: Node) -> str:
    inputs = sorted(map(describe, node.inputs.annotations))
    responses = sorted(f"{describe(request)}->{describe(response)}" for request, response in node.response_types)
    return f"executor {node.id!r} {node.type_name} {inputs} {responses}"


def _group_line(group: EdgeGroup) -> str:
    match group:
        case Edge():
            return f"edge {group.source!r} {group.target!r} {callable_identity(group.condition)}"
        case FanOutEdges():
            return f"fan-out {group.source!r} {group.targets}"
        case MultiSelectionEdges():
            return f"selection {group.source!r} {group.targets} {callable_identity(group.selection)}"
        case FanInEdges():
            return f"fan-in {group.sources} {group.join.target!r} {group.join.wait.value}"
        case _:
            cases = [(callable_identity(condition), target) for condition, target in group.cases]
            return f"switch {group.source!r} {cases} {group.default!r}"


def callable_identity(function: Any) -> str:
    """What a user's function is, independent of where it lives and of this process."""
    if function is None:
        return "-"
    if isinstance(function, partial):
        bound = [*map(_plain, function.args), *((name, _plain(value)) for name, value in function.keywords.items())]
        return f"partial({callable_identity(function.func)}, {bound})"
    if isinstance(function, MethodType):
        return f"{type(function.__self__).__name__}.{function.__func__.__name__}"
    if not isinstance(function, FunctionType):
        return getattr(function, "__name__", type(function).__name__)
    captured = [_plain(cell) for cell in _captured(function)]
    if function.__name__ == "<lambda>":
        return f"lambda {_code_digest(function.__code__)} {captured}"
    return f"{function.__qualname__.rpartition('<locals>.')[2]} {captured}"


def _captured(function: FunctionType) -> list[Any]:
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            cells.append(None)
    return [*defaults, *cells]


def _plain(value: Any) -> str:
    if isinstance(value, (bool, int, float, str, bytes, type(None))):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, (frozenset, set)):
        return f"{{{', '.join(sorted(map(_plain, value)))}}}"
    if isinstance(value, FunctionType) and value.__name__ != "<lambda>":
        return value.__name__
    return type(value).__name__


def _code_digest(code: CodeType) -> str:
    constants = [_code_digest(c) if isinstance(c, CodeType) else _plain(c) for c in code.co_consts]
    text = f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
