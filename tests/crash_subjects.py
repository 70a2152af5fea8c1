"""The workflows that sweeps of crashes, chaos and rehydration are played over: every example, and the shared scenarios."""

import importlib.util
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from tests import crash_workflows, scenarios

EXAMPLES = Path(__file__).parents[1] / "examples"


@attrs.frozen
class Subject:
    make_workflow: Any
    message: Any
    answers: Any = None


def example(name):
    known = f"example_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, EXAMPLES / f"{name}.py")
        sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]


def _of_examples():
    loop, approval = example("loop"), example("approval")
    payments = [approval.Payment(120, "Ada"), approval.Payment(9000, "Bob")]
    inputs = {
        "hello": ("trio",),
        "loop": (loop.Range(67, 68),),
        "approval": (payments, lambda request: request.data.amount < 1000),
        "resume": (1,),
        "nested": ([80, 900], lambda _: False),
        "mock_clock": (0,),  # an hour is 360 renewals of the lease, each of them an operation
    }
    return {name: Subject(example(name).make_workflow, *given) for name, given in inputs.items()}


SUBJECTS = {
    **_of_examples(),
    "plain": Subject(scenarios.plain, "x"),
    "joined": Subject(scenarios.joined, "x", {"x>start": "yes"}),
    "stateful": Subject(scenarios.stateful, "x"),
    "switched": Subject(scenarios.switched, 5),
}


TIMED = {
    "reminder": Subject(example("reminder").office, 90),
    "racing": Subject(crash_workflows.racing, "x"),
    "patient": Subject(crash_workflows.patient, "x"),
}
"""Those in which a time of day decides what happens."""

SWEPT = {
    **SUBJECTS,
    **TIMED,
    "supervised": Subject(crash_workflows.supervised, 2),
    "managed": Subject(crash_workflows.managed, "one"),
    "deep": Subject(crash_workflows.deep, "one", lambda request: f"yes {request.data.text}"),
    "counting": Subject(crash_workflows.counting, [1]),
}
"""What is crashed everywhere: those that other sweeps play too, those with times, and those only of interest here."""


def played(play, name, **options):
    """Play a sweep over a subject."""
    subject = SWEPT[name]
    return partial(play, subject.make_workflow, subject.message, answers=subject.answers)(**options)
