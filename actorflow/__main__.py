"""``python -m actorflow``, and the console script."""

from __future__ import annotations

import sys

__all__ = ["main"]

_EXTRA = ("cyclopts", "rich")


def main() -> None:
    """Run the command line."""
    try:
        from actorflow.cli import app

        app()
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit("The command line needs an extra: pip install 'actorflow[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
