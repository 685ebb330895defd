from __future__ import annotations

import signal
import threading
import time

import pytest

from pybuild.registry.parallel import Stop, Stopped, run


def test_all_tasks_are_done_by_as_many_threads_as_asked_for():
    barrier, done = threading.Barrier(3), []

    def task(number):
        barrier.wait(5)
        done.append(number)

    run([lambda number=number: task(number) for number in range(6)], Stop(), jobs=3)
    assert sorted(done) == list(range(6))


def test_no_tasks_and_no_jobs():
    done = []
    run([], Stop(), jobs=4)
    run([lambda: done.append(1)], Stop(), jobs=0)
    assert done == [1]


def test_the_first_error_is_raised_and_ends_the_rest():
    stop, begun = Stop(), threading.Event()

    def fail():
        begun.wait(5)
        raise ValueError("first")

    def go_on():
        begun.set()
        while True:
            stop.check()

    late = []
    with pytest.raises(ValueError, match="first"):
        run([fail, go_on, lambda: late.append(1)], stop, jobs=2)
    assert late == []
    with pytest.raises(Stopped):
        stop.check()


def test_what_is_stopped_stays_stopped():
    stop, done = Stop(), []
    stop.set()
    with pytest.raises(Stopped):
        run([lambda: done.append(1)], stop, jobs=1)
    assert done == []


def test_a_signal_that_another_thread_got_ends_it():
    def hang():
        time.sleep(0.3)  # The one that waits is at it.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        time.sleep(20)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run([hang], Stop(), jobs=1)
    assert time.monotonic() - start < 5
