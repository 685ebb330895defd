"""The command line, started from this checkout whether it is installed or not."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
_LIBRARIES = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))

# Without `site`: what an editable installation has there takes as long as the rest of a start.
PYTHON = (sys.executable, "-S", "-c")
IMPORT = f"import sys; sys.path[:0] = {(_ROOT, *_LIBRARIES)!r}; import pybuild; pybuild.__path__.append({_ROOT!r})"
COMMAND = (*PYTHON, f"{IMPORT}; from pybuild.__main__ import main; main()")
