"""Threads that work is handed to, and that hand it back."""

from __future__ import annotations

import threading
import time

import pytest

from pybuild.builder.steps.workers import Workers


def everything(workers):
    found = []
    while workers.at_work:
        found += workers.take(10)
    return found


def divided(workers, count):
    """One divided by each number below `count`, and then closed: errors by number, and what came out."""
    done = []
    for number in range(count):
        workers.submit(number, lambda number=number: done.append(1 // number))
    back = dict(everything(workers))
    workers.close()
    return back, done


def test_all_that_is_handed_in_comes_back_with_its_error():
    workers = Workers(3)
    back, done = divided(workers, 20)
    assert sorted(back) == list(range(20))
    assert isinstance(back[0], ZeroDivisionError) and not any(back[number] for number in range(1, 20))
    assert len(done) == 19


def test_as_many_at_once_as_there_are_threads_and_no_thread_before_it_is_needed():
    before = threading.active_count()
    workers = Workers(2)
    assert threading.active_count() == before
    both, go = threading.Barrier(3), threading.Event()

    def meet():
        both.wait(10)
        go.wait(10)

    for number in range(4):
        workers.submit(number, meet)
    both.wait(10)
    assert threading.active_count() == before + 2
    assert workers.take(0.01) == []
    go.set()
    both.reset()
    workers.close()


def test_closing_waits_for_what_has_begun_and_drops_the_rest():
    workers, begun, ended = Workers(1), threading.Event(), []

    def slow():
        begun.set()
        time.sleep(0.05)
        ended.append("slow")

    workers.submit("slow", slow)
    workers.submit("never", lambda: ended.append("never"))
    begun.wait(10)
    workers.close()
    workers.close()
    assert ended == ["slow"]


@pytest.mark.parametrize("most", [0, 1])
def test_where_there_can_be_no_more_threads_the_work_is_done_all_the_same(monkeypatch, most):
    start, started = threading.Thread.start, []

    def limited(thread):
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    workers = Workers(3)
    back, done = divided(workers, 5)
    assert sorted(back) == list(range(5)) and isinstance(back[0], ZeroDivisionError)
    assert len(done) == 4
