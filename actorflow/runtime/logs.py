"""The log: one line for each superstep, for an application that uses structlog and has configured it."""

from __future__ import annotations

import sys

__all__ = ["log_superstep"]


def log_superstep(workflow_id: str, run_id: str, superstep: int) -> None:
    """Log a committed superstep. Nobody else pays for it: importing structlog takes a fifth of importing this package."""
    structlog = sys.modules.get("structlog")
    if structlog is not None and structlog.is_configured():
        structlog.get_logger("actorflow").debug("superstep", workflow=workflow_id, run=run_id, superstep=superstep)
