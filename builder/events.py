"""What a build tells while it runs. Plain values: a screen, a log and a program each read them their own way."""

from __future__ import annotations

from pybuild.hints import Protocol
from pybuild.registry.progress import Transferred
from pybuild.values import frozen


@frozen
class StepStarted:
    """Work on a step began. `number` of `total` within the build, `name` as the Dockerfile has it."""

    step: int
    number: int
    total: int
    stage: str
    name: str


# The error of a step that was ended because another one failed, or by Ctrl-C.
CANCELED = "canceled"


@frozen
class StepFinished:
    """A step ended; `error` is None when it worked. Cached steps finish without having worked."""

    step: int
    seconds: float
    is_cached: bool = False
    error: str | None = None


@frozen
class StepOutput:
    """Bytes that a RUN wrote, in order. `stream` is 1 or 2."""

    step: int
    stream: int
    content: bytes


@frozen
class Notice:
    """A warning: the build goes on."""

    message: str


@frozen
class Finished:
    """The image is in the store, under these names; it `came_twice` when it was built twice, and was the same both times."""

    image_id: str
    digest: str
    names: tuple[str, ...]
    seconds: float
    came_twice: bool = False


# What a piece of work on a step was.
MAKE, PACK = "make", "pack"


@frozen
class Worked:
    """A piece of work on a step is over: it was made, or packed into a layer, from `started` to `ended` by the monotonic clock.

    Of what was packed, `content` is the bytes of files and `size` those of the blob.
    """

    step: int
    action: str
    thread: str
    started: float
    ended: float
    content: int = 0
    size: int = 0


@frozen
class LayerGrows:
    """The layer of a step that will be part of the image is being written to a file of the store; `size` bytes are there."""

    step: int
    path: str
    size: int


@frozen
class LayerReady:
    """The layer of a step that will be part of the image is in the store, as this blob: it was there, or has been packed now."""

    step: int
    media_type: str
    digest: str
    size: int


@frozen
class Recorded:
    """The build, done or failed, is in the history under this number; `pybuild why` explains it."""

    build: int


@frozen
class Tick:
    """Time has passed and work goes on: a screen may want to draw its clocks anew."""


Event = (
    StepStarted | StepFinished | StepOutput | Transferred | Notice | Finished | Worked | LayerGrows | LayerReady | Recorded | Tick
)


class Progress(Protocol):
    """Where events go. Called from several threads, never at the same time."""

    def emit(self, event: Event) -> None:
        """Take one event; must not block for long."""


class OneAtATime:
    """Hands events on from several threads, one at a time."""

    def __init__(self, progress: Progress) -> None:
        import threading

        self._progress = progress
        self._mutex = threading.Lock()

    def emit(self, event: Event) -> None:
        """Take one event, from any thread."""
        with self._mutex:
            self._progress.emit(event)
