"""A fork beside garbage that only its parent can take down."""

from __future__ import annotations

import gc
import os
import signal

import pytest
import zstandard

from pybuild.builder.sandbox.forking import fork


class Garbage:
    """Something that only the garbage collector ends."""

    def __init__(self, content):
        self.itself = self
        self.content = content


class Told:
    """Says by which process it was taken down."""

    def __init__(self, path):
        self.path = path

    def __del__(self):
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()}\n")


@pytest.fixture
def uncollected():
    """Garbage stays where it is for as long as the test wants it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def in_child(work) -> int:
    """How a fork ended that did `work`."""
    pid = fork()
    if pid == 0:
        # What waits without end is ended.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_owns_threads_is_not_taken_down_where_they_are_not(uncollected):
    compressor = zstandard.ZstdCompressor(threads=2).compressobj()
    compressor.compress(bytes(4 << 20))
    Garbage(compressor)
    del compressor
    assert in_child(gc.collect) == 0


def test_the_parents_garbage_is_the_parents(uncollected, tmp_path):
    Garbage(Told(tmp_path / "told"))
    assert in_child(gc.collect) == 0
    assert not (tmp_path / "told").exists()
    gc.collect()
    assert (tmp_path / "told").read_text() == f"{os.getpid()}\n"


def test_the_child_collects_its_own(uncollected, tmp_path):
    def work():
        Garbage(Told(tmp_path / "told"))
        gc.collect()

    assert in_child(work) == 0
    assert (tmp_path / "told").exists()


def test_the_collector_is_left_as_it_was(uncollected):
    assert in_child(lambda: None) == 0 and not gc.isenabled()
    gc.enable()

    def work():
        assert gc.isenabled()

    assert in_child(work) == 0 and gc.isenabled()
