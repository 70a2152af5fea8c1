"""Annotations compiled into plain tests of values: walked once when a workflow is built, never per message."""

from __future__ import annotations

from collections import Counter, abc
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import typing_extensions

from actorflow.core.annotations import CALLABLE, ELEMENT_CONTAINERS, PAIR_CONTAINERS, is_everything, members
from actorflow.core.describing import describe
from actorflow.core.generics import bases, dict_shape, generic_fields, is_dict_shape
from actorflow.errors import HandlerSignatureError

__all__ = ["TypeMatcher", "compile_type"]

_Check = Callable[[object], bool]

# Deeper than any type a person writes; a generic class whose field holds a deeper one of itself would never end.
_DEEPEST = 64

_UNSET = object()


@attrs.frozen
class TypeMatcher:
    """The test of values that an annotation stands for.

    Attributes:
        annotation: What was compiled.
        plain: Set when ``isinstance(value, plain)`` is the whole test, so that the answer depends on the class of the
            value alone and may be cached by it.
        outer: A class that every value taken is an instance of; object when none is known.
        check: The compiled test itself.
    """

    annotation: object
    plain: type | None
    outer: type
    check: _Check = attrs.field(eq=False, repr=False)

    def matches(self, value: object) -> bool:
        """Whether the annotation takes a value, elements, keys and fields included.

        Args:
            value: Any value. An iterator for ``Iterable[T]`` is not looked into: that would use it up.
        """
        return self.check(value)


def compile_type(annotation: object) -> TypeMatcher:
    """Compile an annotation into a test of values.

    Args:
        annotation: Any annotation but a string. bool is an int here, an int is no float, and the keys of a TypedDict
            are exactly the declared ones.

    Raises:
        HandlerSignatureError: Values cannot be tested against this annotation, or it cannot be resolved.
    """
    return _Compiler().compile(annotation)


@attrs.define(eq=False)
class _Pending:
    """Stands for a type inside its own definition until that has been compiled."""

    check: _Check | None = None

    def matches(self, value: object) -> bool:
        assert self.check is not None
        return self.check(value)


@attrs.define(eq=False)
class _Compiler:
    _open: list[tuple[object, _Pending]] = attrs.field(factory=list)

    def compile(self, annotation: object) -> TypeMatcher:
        for known, pending in self._open:
            if known == annotation:
                return TypeMatcher(annotation, None, object, pending.matches)
        if len(self._open) > _DEEPEST:
            raise _unsupported(annotation, "its definition nests without end")
        pending = _Pending()
        self._open.append((annotation, pending))
        matcher = self._members(annotation)
        self._open.pop()
        pending.check = matcher.check
        return matcher

    def _members(self, annotation: object) -> TypeMatcher:
        options = [self._member(member) for member in members(annotation)]
        if len(options) == 1:
            return attrs.evolve(options[0], annotation=annotation)
        if any(option.plain is object for option in options):
            return _plain(annotation, object)
        classes = tuple(option.plain for option in options if option.plain is not None)
        checks = tuple(option.check for option in options if option.plain is None)
        return TypeMatcher(annotation, None, object, _any_of(classes, checks))

    def _member(self, annotation: object) -> TypeMatcher:
        if is_everything(annotation):
            return _plain(annotation, object)
        if get_origin(annotation) is Literal:
            return _literal(annotation)
        kind = get_origin(annotation) or annotation
        if isinstance(kind, TypeVar):
            raise _unsupported(annotation, "the type variable stands for nothing here; write a type in its place")
        if not isinstance(kind, type) or getattr(annotation, "__unpacked__", False):
            raise _unsupported(annotation, "it names no class that a value can be tested against")
        if is_dict_shape(kind):
            return self._dict_shape(annotation)
        if typing_extensions.is_protocol(kind):
            return _protocol(annotation, kind)
        if get_origin(annotation) is None or kind is CALLABLE:
            return _plain(annotation, kind)
        return self._generic(annotation, kind, get_args(annotation))

    def _generic(self, annotation: object, kind: type, arguments: tuple[object, ...]) -> TypeMatcher:
        if kind is tuple:
            return self._tuple(annotation, arguments)
        if kind is type:
            return _class_object(annotation, arguments[0])
        if kind in ELEMENT_CONTAINERS:
            return self._elements(annotation, kind, arguments[0])
        if kind in PAIR_CONTAINERS:
            key, value = (*arguments, int) if kind is Counter else arguments
            return self._pairs(annotation, kind, key, value)
        return self._user_generic(annotation, kind)

    def _tuple(self, annotation: object, arguments: tuple[object, ...]) -> TypeMatcher:
        if arguments[1:] == (...,):
            return self._elements(annotation, tuple, arguments[0])
        checks = tuple(self.compile(argument).check for argument in arguments)
        return TypeMatcher(annotation, None, tuple, _items_of(checks))

    def _elements(self, annotation: object, kind: type, element: object) -> TypeMatcher:
        inner = self.compile(element)
        if inner.plain is object:
            return _plain(annotation, kind)
        return TypeMatcher(annotation, None, kind, _elements_of(kind, inner.check))

    def _pairs(self, annotation: object, kind: type, key: object, value: object) -> TypeMatcher:
        keys, values = self.compile(key), self.compile(value)
        if keys.plain is object and values.plain is object:
            return _plain(annotation, kind)
        return TypeMatcher(annotation, None, kind, _pairs_of(kind, keys.check, values.check))

    def _dict_shape(self, annotation: object) -> TypeMatcher:
        shape = dict_shape(annotation)
        checks = {key: self.compile(kind).check for key, kind in shape.fields.items()}
        return TypeMatcher(annotation, None, dict, _keys_of(checks, shape.required))

    def _user_generic(self, annotation: object, kind: type) -> TypeMatcher:
        """Test the class, and its generic fields and bases as far as its arguments say something about them."""
        fields = {name: self.compile(field) for name, field in generic_fields(annotation).items()}
        checks = [_field_of(name, inner.check) for name, inner in fields.items() if inner.plain is not object]
        inherited = [self.compile(base) for base in bases(annotation, only_generic=True)]
        checks += [base.check for base in inherited if base.plain is None]
        if not checks:
            return _plain(annotation, kind)
        return TypeMatcher(annotation, None, kind, _all_of(kind, tuple(checks)))


def _unsupported(annotation: object, problem: str) -> HandlerSignatureError:
    return HandlerSignatureError(
        f"{describe(annotation)} cannot be used as a message type: {problem}. Classes, unions, Literal, TypedDict, "
        f"type[...], runtime-checkable protocols, and list, tuple, set, dict, Sequence, Mapping and your own generic "
        f"classes with arguments can be used"
    )


def _plain(annotation: object, kind: type) -> TypeMatcher:
    return TypeMatcher(annotation, kind, kind, lambda value: isinstance(value, kind))


def _literal(annotation: object) -> TypeMatcher:
    # By type first: 1, True and 1.0 are equal, and a value that cannot be hashed is never looked up.
    options: dict[type, set[object]] = {}
    for option in get_args(annotation):
        options.setdefault(type(option), set()).add(option)
    outer = next(iter(options)) if len(options) == 1 else object
    return TypeMatcher(annotation, None, outer, lambda value: value in options.get(type(value), ()))


def _protocol(annotation: object, kind: type) -> TypeMatcher:
    # Not plain: isinstance looks for the members on the value itself, so two values of one class may differ.
    try:
        isinstance(None, kind)
    except TypeError as error:
        raise _unsupported(annotation, f"the protocol needs @runtime_checkable ({error})") from error
    return TypeMatcher(annotation, None, object, lambda value: isinstance(value, kind))


def _class_object(annotation: object, argument: object) -> TypeMatcher:
    classes = members(argument)
    if any(map(is_everything, classes)):
        return _plain(annotation, type)
    wanted = tuple(kind for kind in classes if isinstance(kind, type) and get_origin(kind) is None)
    if len(wanted) < len(classes) or any(map(typing_extensions.is_protocol, wanted)) or any(map(is_dict_shape, wanted)):
        raise _unsupported(annotation, "type[...] needs classes")
    return TypeMatcher(annotation, None, type, lambda value: isinstance(value, type) and issubclass(value, wanted))


def _any_of(classes: tuple[type, ...], checks: tuple[_Check, ...]) -> _Check:
    if not checks:
        return lambda value: isinstance(value, classes)
    return lambda value: isinstance(value, classes) or any(check(value) for check in checks)


def _all_of(kind: type, checks: tuple[_Check, ...]) -> _Check:
    return lambda value: isinstance(value, kind) and all(check(value) for check in checks)


def _field_of(name: str, check: _Check) -> _Check:
    # A field that was never set is of no type; no test that is run here takes the stand-in.
    return lambda value: check(getattr(value, name, _UNSET))


def _items_of(checks: tuple[_Check, ...]) -> _Check:
    def matches(value: Any) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) == len(checks)
            and all(check(item) for check, item in zip(checks, value, strict=True))
        )

    return matches


def _elements_of(kind: type, check: _Check) -> _Check:
    if issubclass(kind, abc.Collection):
        return lambda value: isinstance(value, kind) and all(map(check, value))

    def matches(value: Any) -> bool:
        return isinstance(value, kind) and (not isinstance(value, abc.Collection) or all(map(check, value)))

    return matches


def _pairs_of(kind: type[Mapping[object, object]], key: _Check, item: _Check) -> _Check:
    def matches(value: object) -> bool:
        return isinstance(value, kind) and all(map(key, value.keys())) and all(map(item, value.values()))

    return matches


def _keys_of(checks: dict[str, _Check], required: frozenset[str]) -> _Check:
    def matches(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and required <= value.keys()
            and all(key in checks and checks[key](item) for key, item in value.items())
        )

    return matches
