"""Sending layers while steps run: listens to a build, and hands each layer that is in the store, or growing, to who sends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pybuild.builder.events import Event, LayerGrows, LayerReady, OneAtATime, Progress, Tick
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import Workspace
from pybuild.registry import Descriptor, Digest, Reference, media
from pybuild.registry.early import EarlyPush
from pybuild.registry.progress import Transferred


class Uploads:
    """Progress that sends layers, and hands everything on, one at a time.

    Its threads begin when the steps do: by then the spawn server has been forked.
    """

    def __init__(self, progress: Progress, workspace: Workspace, names: tuple[Reference, ...], *, insecure: bool) -> None:
        self._progress = OneAtATime(progress)
        self._below: tuple[Descriptor, ...] = ()
        # Where the layers of steps are being written.
        self._paths: dict[int, str] = {}
        self._push = EarlyPush(workspace.store, names, insecure=insecure, listener=self._progress.emit)

    def expect(self, layers: tuple[Descriptor, ...]) -> None:
        """Layers of the base, which will be part of the image: they go when the steps begin. Those of a step are told of."""
        self._below = tuple(layer for layer in layers if layer.media_type not in media.FOREIGN_LAYERS)

    def emit(self, event: Event) -> None:
        """Take one event."""
        if type(event) is LayerGrows:
            self._paths[event.step] = event.path
            self._push.grow(event.path, event.size)
        if type(event) is LayerReady:
            blob = Descriptor(event.media_type, Digest(event.digest), event.size)
            self._push.offer(blob, path=self._paths.pop(event.step, ""))
        if type(event) is LayerReady or type(event) is Tick:
            for layer in self._below:
                self._push.offer(layer)
            self._below = ()
        if type(event) is Transferred and event.action == "exists" and event.name in self._push.sent:
            # The push of the image has found what went ahead of it.
            return
        self._progress.emit(event)

    def finish(self) -> None:
        """Wait for what is on its way."""
        self._push.finish()

    def stop(self) -> None:
        """Send no more."""
        self._push.stop()


@contextmanager
def uploading(request: BuildRequest, workspace: Workspace, progress: Progress) -> Iterator[Uploads | None]:
    """What sends layers early; None when nothing is pushed under the image's own names."""
    if not request.tags or not (request.push or any(output.type == "registry" for output in request.outputs)):
        yield None
        return
    uploads = Uploads(progress, workspace, request.tags, insecure=request.insecure)
    try:
        yield uploads
    except BaseException:
        uploads.stop()
        raise
