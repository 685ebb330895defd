"""What `build` says of itself when it is over: why each step ran. Failed builds have most to say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pybuild.builder.events import Event, Progress, Recorded


class _Listening:
    """Progress that notes the number under which the build is in the history."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.number: int | None = None

    def emit(self, event: Event) -> None:
        if type(event) is Recorded:
            self.number = event.build
        self._progress.emit(event)


@contextmanager
def looking_back(progress: Progress, *, explain: bool) -> Iterator[Progress]:
    """The progress to build with; on leaving, by an error too, what was asked for is said on standard error."""
    if not explain:
        yield progress
        return
    listening = _Listening(progress)
    try:
        yield listening
    finally:
        if listening.number is not None:
            _explain(listening.number)


def _explain(number: int) -> None:
    import time

    from pybuild.explained import explanation_lines
    from pybuild.past import explanation

    lines = explanation_lines(explanation(number), now=time.time(), colour=sys.stderr.isatty())
    sys.stderr.write("\n" + "".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
