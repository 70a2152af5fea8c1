"""Types of messages: their names, members, compatibility and tests of values. The door to the rooms behind it."""

from actorflow.core.annotations import members, type_variables
from actorflow.core.describing import describe
from actorflow.core.matching import TypeMatcher, compile_type
from actorflow.core.subtyping import compatible, is_subtype

__all__ = ["TypeMatcher", "compatible", "compile_type", "describe", "is_subtype", "members", "type_variables"]
