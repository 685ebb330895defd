"""The command: `pybuild ...` and `python -m pybuild ...`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from pybuild.cli import run
    from pybuild.cli.errors import interrupt_once

    interrupt_once()
    # Start-up makes thousands of objects that all stay, and so does a large context: looking through them for garbage is
    # 4 of 60 ms.
    gc.set_threshold(50_000)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
