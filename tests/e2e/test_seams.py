"""The two seams of a build: a cache that lies elsewhere, and an executor in another process, give the images that ours give."""

from __future__ import annotations

import pytest
from real.elsewhere import Elsewhere, Shelf

from pybuild.builder.build import build
from pybuild.builder.errors import StepFailed
from pybuild.builder.events import StepFinished, StepOutput, StepStarted
from pybuild.builder.records.cache import LocalCache
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import Workspace
from pybuild.registry import Reference, Store

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.peers("umoci")]
DOCKERFILE = """\
FROM ubuntu AS made
COPY code /code
RUN grep -v ^# /code > /out && mkdir /dir && echo $$ > /noise
FROM ubuntu
ENV KIND=sound
COPY --from=made /out /out
RUN --mount=from=made,source=/out,target=/in --mount=target=/context,source=code cat /in /context > /both; rm /tmp/* -rf
USER user
WORKDIR /work
RUN id -u; cat /both /out > sum; echo made of $KIND
LABEL last=one
"""


class Heard:
    """Progress that remembers which steps worked, and what they said."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.ran: list[str] = []
        self.said = b""

    def emit(self, event):
        if isinstance(event, StepStarted):
            self.names[event.step] = event.name
        elif isinstance(event, StepFinished) and not event.is_cached and not self.names[event.step].startswith("FROM"):
            self.ran.append(self.names[event.step])
        elif isinstance(event, StepOutput):
            self.said += event.content


@pytest.fixture
def made(context, ubuntu, tmp_path):
    """Build the context in a store of this name; what was heard, and the image's digest."""
    folder = context(DOCKERFILE, code="# one\nreal\n")

    def make(store: str, **seams) -> tuple[Heard, str]:
        heard = Heard()
        request = BuildRequest(
            str(folder),
            contexts=(("ubuntu", f"oci-layout://{ubuntu}"),),
            tags=(Reference.parse("app"),),
            timestamp=seams.pop("timestamp", None),
        )
        with Workspace.open(tmp_path / store) as workspace:
            return heard, str(build(request, workspace=workspace, progress=heard, **seams).digest)

    make.folder = folder
    return make


def test_a_cache_elsewhere_serves_a_store_that_has_nothing(made, tmp_path):
    shelf = tmp_path / "shelf"
    shelf.mkdir()

    def cache(workspace):
        return Shelf(workspace, shelf)

    heard, digest = made("one", cache=cache)
    assert len(heard.ran) == 6
    heard, again = made("two", cache=cache)
    assert (heard.ran, again) == ([], digest), "not even the times in its history are others"
    Store.open(tmp_path / "two").find("app")
    (made.folder / "code").write_text("# two\nreal\n")
    heard, _ = made("three", cache=cache)
    # The context's file is part of what the second RUN sees.
    assert heard.ran[:2] == ["COPY code /code", "RUN grep -v ^# /code > /out && mkdir /dir && echo $$ > /noise"]
    assert "COPY --from=made /out /out" not in heard.ran, "results are found by their content there, too"
    assert made("four")[0].ran, "and without it everything is done"


def test_what_is_kept_elsewhere_is_the_same_as_here(made, tmp_path):
    (tmp_path / "shelf").mkdir()
    digests = {
        made("one", timestamp=10**9, cache=cache)[1]
        for cache in (LocalCache, lambda workspace: Shelf(workspace, tmp_path / "shelf"))
    }
    assert len(digests) == 1


def test_an_executor_elsewhere_makes_the_same_image(made, tmp_path):
    digest = made("here", timestamp=10**9)[1]

    def executor(job, workspace):
        return Elsewhere(job, workspace, tmp_path / "far")

    heard, other = made("there", timestamp=10**9, executor=executor)
    assert other == digest
    assert b"1000\nmade of sound\n" in heard.said
    assert len(heard.ran) == 6
    far = {path.name for path in (tmp_path / "far/blobs/sha256").iterdir()}
    store = Store.open(tmp_path / "there")
    assert sum(layer.digest.hex in far for layer in store.find("app").manifest.layers) >= 3


def test_a_step_that_fails_elsewhere_fails_here(made, tmp_path):
    (made.folder / "Dockerfile").write_text("FROM ubuntu\nRUN echo last words; exit 7\n")
    with pytest.raises(StepFailed) as caught:
        made("there", executor=lambda job, workspace: Elsewhere(job, workspace, tmp_path / "far"))
    assert (caught.value.exit_code, caught.value.output.strip()) == (7, "last words")
    assert caught.value.span is not None and caught.value.span.line == 2
