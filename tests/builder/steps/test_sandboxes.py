"""Sandboxes that are started before it is known what runs in them: when they are, and that nothing of them stays."""

from __future__ import annotations

import gc
import os
import shutil

import pytest

import pybuild.builder.steps.sandboxes as module
from pybuild.builder.build import build
from pybuild.builder.errors import StepFailed
from pybuild.builder.request import BuildRequest, RunOptions
from pybuild.builder.sandbox.confinement import Confinement
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.steps.sandboxes import Sandboxes, foreseen
from pybuild.grammar import Span
from pybuild.grammar.errors import DockerfileError
from pybuild.registry.reference import Reference

pytestmark = pytest.mark.root

# The image has no shell: what matters is that a sandbox is made.
RUN = "FROM scratch\nCOPY file /\nRUN true\n"


@pytest.fixture
def request_of(tmp_path):
    def make(text, **values):
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text("content")
        (folder / "Dockerfile").write_text(text)
        return BuildRequest(context=str(folder), tags=(Reference.parse("made"),), **values)

    return make


@pytest.fixture
def started(monkeypatch):
    """The spawn servers that are started, in order."""
    found = []
    before = SpawnServer.start

    def start():
        found.append(before())
        return found[-1]

    monkeypatch.setattr(module.SpawnServer, "start", start)
    return found


@pytest.fixture
def collector():
    """The garbage collector, which does nothing by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Silent:
    def emit(self, event):
        pass


def ended(server):
    try:
        os.kill(server._pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("text", "is_foreseen"),
    [
        (RUN, True),
        ("FROM scratch\n  run true\n", True),
        ("FROM scratch\nCOPY run /\n# RUN nothing\n", False),
        ("FROM scratch\nRUNNING late\n", False),
    ],
)
def test_a_run_is_foreseen(text, is_foreseen, request_of, workspace, started):
    found = foreseen(text, request_of(text), workspace)
    assert (found is not None, len(started)) == (is_foreseen, is_foreseen)
    if found is not None:
        assert os.listdir(f"{workspace.store.root}/tmp")
        found.close()
        found.close()
    assert not os.listdir(f"{workspace.store.root}/tmp")
    assert all(map(ended, started))


def test_the_server_is_there_before_the_file_is_read(request_of, workspace, started, monkeypatch):
    def parse(source):
        assert len(started) == 1
        raise DockerfileError("stop here", source=source, span=Span(1, 1, 1, 1))

    monkeypatch.setattr("pybuild.grammar.parse", parse)
    with pytest.raises(DockerfileError, match="stop here"):
        build(request_of(RUN), workspace=workspace, progress=Silent())
    assert ended(started[0])


@pytest.mark.parametrize("text", [RUN, RUN.replace("RUN", "RUN --network=none")])
def test_a_build_has_one_server(text, request_of, workspace, started):
    with pytest.raises(StepFailed):
        build(request_of(text), workspace=workspace, progress=Silent())
    assert len(started) == 1
    assert ended(started[0])
    # What is wanted is known by now, so nothing is foreseen: the server starts when there is a step for it.
    with pytest.raises(StepFailed):
        build(request_of(text), workspace=workspace, progress=Silent())
    assert len(started) == 2
    assert not os.listdir(f"{workspace.store.root}/tmp")


def test_what_needs_no_run_after_all_ends_it(request_of, workspace, started):
    text = "FROM scratch AS unused\nRUN true\nFROM scratch\nCOPY file /\n"
    build(request_of(text), workspace=workspace, progress=Silent())
    assert len(started) == 1
    assert ended(started[0])


def test_what_cannot_be_is_left_to_who_has_the_step(request_of, workspace, monkeypatch):
    def start():
        raise OSError("no process")

    monkeypatch.setattr(module.SpawnServer, "start", start)
    options = RunOptions(confinement=Confinement("namespaces", None, None, None))
    assert foreseen(RUN, request_of(RUN, run=options), workspace) is None
    assert not os.listdir(f"{workspace.store.root}/tmp")


def test_what_is_to_be_told_waits_for_a_listener(workspace, monkeypatch):
    monkeypatch.setattr("pybuild.builder.steps.networking.find_stack", lambda: None)
    found, told = Sandboxes(workspace, RunOptions()), []
    try:
        found.expect("default", "sandbox")
        assert told == []
        found.listen(told.append)
        assert len(told) == 1
        found.expect("default", "sandbox")
        assert len(told) == 1
    finally:
        found.close()


def test_a_build_leaves_nothing_to_the_garbage_collector(request_of, workspace, collector, busybox, tmp_path):
    """What waits there for its end may be much, and may have threads."""
    request = request_of("FROM scratch\nCOPY sh /bin/\nRUN true\n")
    shutil.copy(busybox, tmp_path / "context" / "sh")
    before = ours()
    build(request, workspace=workspace, progress=Silent())
    assert {type(item).__qualname__ for number, item in ours().items() if number not in before} == set()


def ours():
    """What there is of the package's objects, by their identities."""
    return {id(item): item for item in gc.get_objects() if str(type(item).__module__).startswith("pybuild.builder.steps")}
