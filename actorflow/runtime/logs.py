"""The log: one line for each superstep and for each overrun, for an application that uses structlog and has configured it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["log_overrun", "log_superstep"]


def log_superstep(workflow_id: str, run_id: str, superstep: int) -> None:
    """Log a committed superstep. Nobody else pays for it: importing structlog takes a fifth of importing this package."""
    log = _log()
    if log is not None:
        log.debug("superstep", workflow=workflow_id, run=run_id, superstep=superstep)


def log_overrun(workflow_id: str, run_id: str, executor_ids: Sequence[str], grace: float) -> None:
    """Log that handlers of a run that is ending go on for longer than they were given."""
    log = _log()
    if log is not None:
        log.warning("cleanup overrun", workflow=workflow_id, run=run_id, executors=[*executor_ids], grace=grace)


def _log() -> Any:
    structlog = sys.modules.get("structlog")
    return structlog.get_logger("actorflow") if structlog is not None and structlog.is_configured() else None
