"""What `build` says of itself when it is over: why each step ran, and when. Failed builds have most to say."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pybuild.builder.events import Event, Progress, Recorded, Worked
from pybuild.hints import TYPE_CHECKING, TextIO
from pybuild.registry.progress import Transferred

if TYPE_CHECKING:
    from pybuild.timeline import Watch


class _Listening:
    """Progress that notes the number under which the build is in the history, and hands times on to a watch."""

    def __init__(self, progress: Progress, watch: Watch | None) -> None:
        self._progress = progress
        self._watch = watch
        self.number: int | None = None

    def emit(self, event: Event) -> None:
        if type(event) is Recorded:
            self.number = event.build
        elif self._watch is not None and type(event) is Worked:
            self._watch.worked(event)
        elif self._watch is not None and type(event) is Transferred:
            from threading import current_thread

            self._watch.transferred(event, now=time.monotonic(), thread=current_thread().name)
        self._progress.emit(event)


@contextmanager
def looking_back(progress: Progress, *, explain: bool, as_json: bool, timeline: str | None) -> Iterator[Progress]:
    """The progress to build with; on leaving, by an error too, what was asked for is said, or written to the file `timeline`.

    What is said `as_json` is one line, beside those of events.
    """
    if not explain and timeline is None:
        yield progress
        return
    began, watch = time.monotonic(), None
    with ExitStack() as stack:
        out = None
        if timeline is not None:
            from pybuild.timeline import Watch

            # What cannot be written is better known before the build than behind it.
            out, watch = stack.enter_context(open(timeline, "w", encoding="utf-8", errors="backslashreplace")), Watch(began)
        listening = _Listening(progress, watch)
        try:
            yield listening
        finally:
            if listening.number is not None and out is not None and watch is not None:
                _write(out, listening.number, watch, time.monotonic() - began)
            if listening.number is not None and explain:
                _explain(listening.number, as_json=as_json)


def _write(out: TextIO, number: int, watch: Watch, total: float) -> None:
    from pybuild.past import explanation
    from pybuild.timeline_page import page

    out.write(page(explanation(number), watch.works(), total=total, now=time.time()))


def _explain(number: int, *, as_json: bool) -> None:
    from pybuild.past import explanation

    found = explanation(number)
    if as_json:
        import json

        from pybuild.explained import explanation_document

        sys.stderr.write(json.dumps({"event": "Explained", **explanation_document(found)}) + "\n")
    else:
        from pybuild.colours import has_colour
        from pybuild.explained import explanation_lines

        lines = explanation_lines(found, now=time.time(), colour=has_colour(sys.stderr))
        sys.stderr.write("\n" + "".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
