"""The command line, started from this checkout whether it is installed or not."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])

COMMAND = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {_ROOT!r}); import pybuild; "
    f"pybuild.__path__.append({_ROOT!r}); from pybuild.__main__ import main; main()",
)
