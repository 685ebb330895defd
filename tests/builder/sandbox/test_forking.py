"""A fork beside garbage that only its parent can take down."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket

import pytest
import zstandard

from pybuild.builder.sandbox.forking import fork, reap
from pybuild.builder.sandbox.tries import attempt


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


@pytest.fixture(params=["ignored", "asked for"])
def reaper(request):
    """A program that does not care how its children end, or a server that asks for all of them."""

    def ask_for_all(number, frame):
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN if request.param == "ignored" else ask_for_all)
    yield
    signal.signal(signal.SIGCHLD, before)


def test_how_a_child_ended_may_be_known_to_nobody(reaper):
    assert reap(fork() or os._exit(7)) in (None, 7)
    assert attempt(lambda: None) is None
    assert "No such file" in attempt(lambda: os.stat("/no such thing"))
    assert attempt(lambda: os.kill(os.getpid(), signal.SIGKILL)).is_passing


def test_the_child_s_signals_and_children_are_its_own(reaper):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno())
        handler = signal.signal(signal.SIGUSR1, lambda *_: None)
        try:

            def work():
                assert reap(fork() or os._exit(7)) == 7
                os.kill(os.getpid(), signal.SIGUSR1)

            pid = fork()
            if pid == 0:
                try:
                    work()
                except BaseException:
                    os._exit(1)
                os._exit(0)
            assert reap(pid) in (None, 0)
        finally:
            signal.signal(signal.SIGUSR1, handler)
            signal.set_wakeup_fd(before)
        told = b""
        with contextlib.suppress(BlockingIOError):
            told = ours.recv(100)
        assert signal.SIGUSR1 not in told
