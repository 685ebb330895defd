"""The command: `pybuild ...` and `python -m pybuild ...`."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

from pybuild.hints import NoReturn


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        # A locale of another time, or LC_ALL=C where Python was told to obey it. Names in Dockerfiles, archives and images are
        # UTF-8 whatever the terminal's are.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    from pybuild.cli import run
    from pybuild.cli.errors import interrupt_once

    interrupt_once()
    # requests would load one of them, to guess the encoding of texts that do not say theirs: 19 ms, and nobody here asks it to.
    sys.modules.update({"chardet": None, "charset_normalizer": None})  # type: ignore[dict-item]
    # Start-up makes thousands of objects that all stay, and so does a large context: looking through them for garbage is
    # 4 of 60 ms.
    gc.set_threshold(50_000)
    code = run(sys.argv[1:], is_last=True)
    for stream in (sys.stdout, sys.stderr):
        # What could not be written was said in `run`, where it could.
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    # All that has to be closed is closed, but the database, see there; to take the interpreter apart, too, is a tenth of a build
    # that changes nothing.
    os._exit(code)


if __name__ == "__main__":
    main()
