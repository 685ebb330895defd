"""The timeline: whose end the build waited for, and a page that needs nothing else."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.events import MAKE, PACK, Worked
from pybuild.builder.records.history import Trace
from pybuild.cli import run
from pybuild.registry.progress import Transferred
from pybuild.timeline import PULL, PUSH, Watch, Work, critical_path, ready
from pybuild.timeline_page import _tick

VOID = ("meta", "br")


def trace(number: int, below: int | None = None, *origins: int) -> Trace:
    return Trace(number, "", f"{number}/9", "RunStep", f"RUN {number}", str(number), below, origins, (), {}, ())


def work(step: int, started: float, ended: float, *, action=MAKE, thread="a") -> Work:
    return Work(action, "", thread, started, ended, step)


def test_the_path_leads_through_the_stage_that_took_longest():
    traces = (trace(1), trace(2), trace(3, None, 1, 2), trace(4, 3))
    slow, fast = work(1, 0, 3), work(2, 0, 1, thread="b")
    third, fourth = work(3, 3, 4), work(4, 4, 5)
    packed = work(4, 5, 7, action=PACK, thread="b")
    works = (slow, fast, third, fourth, packed, work(3, 4, 4.5, action=PACK, thread="b"))
    assert critical_path(works, traces) == (slow, third, fourth, packed)


def test_a_step_that_waited_for_a_worker_waited_for_what_that_one_did():
    first, second = work(1, 0, 3), work(2, 3, 5)
    assert critical_path((first, second), (trace(1), trace(2))) == (first, second)


def test_the_first_step_waited_for_the_base():
    pulled = Work(PULL, "abc", "transfer", 0, 2)
    made = work(1, 2.5, 3)
    assert critical_path((pulled, made), (trace(1),)) == (pulled, made)


def test_the_push_comes_last():
    made, packed, pushed = work(1, 0, 1), work(1, 1, 2, action=PACK), Work(PUSH, "abc", "transfer", 2, 6)
    assert critical_path((made, packed, pushed), (trace(1),)) == (made, packed, pushed)


def test_nothing_was_done():
    assert critical_path((), (trace(1),)) == ()


def test_the_first_failure_ends_the_path_and_not_what_it_broke_off():
    first, broken_off, failed = work(1, 0, 2), work(2, 2, 5, thread="b"), work(3, 2, 4)
    path = critical_path((first, broken_off, failed), (trace(1), trace(2), trace(3, 1)), failed={3})
    assert path == (first, failed)


def test_a_step_could_begin_when_all_was_there():
    traces = (trace(1), trace(2, 1), trace(3, 1, 2))
    works = (work(1, 0.5, 1), work(2, 1, 4), work(3, 6, 7))
    assert ready(works, traces) == {1: 0.5, 2: 1, 3: 4}


SPANS = st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9), st.sampled_from("ab")), max_size=8)


@given(SPANS)
def test_a_path_goes_forward_and_ends_with_the_build(spans):
    works = tuple(work(n, min(a, b), max(a, b), thread=thread) for n, (a, b, thread) in enumerate(spans))
    path = critical_path(works, tuple(trace(n, n - 1 if n else None) for n in range(len(works))))
    assert bool(path) == bool(works)
    for before, after in itertools.pairwise(path):
        assert before.ended <= after.ended
    if path:
        assert path[-1].ended == max(item.ended for item in works)


def test_a_transfer_is_one_bar_from_its_first_word_to_its_last():
    watch = Watch(10.0)
    for done, now in ((0, 11.0), (5, 12.0), (9, 13.5)):
        watch.transferred(Transferred("pull", "abc", done, 9), now=now, thread="t")
    watch.transferred(Transferred("exists", "def", 9, 9), now=14.0, thread="t")
    watch.worked(Worked(3, PACK, "w", 10.5, 11.0, 100, 40))
    assert watch.works() == (Work(PACK, "", "w", 0.5, 1.0, 3, 100, 40), Work(PULL, "abc", "t", 1.0, 3.5, None, 0, 9))


@pytest.mark.parametrize(("total", "step"), [(0.004, 0.001), (0.9, 0.1), (1.2, 0.2), (7, 1), (100, 10), (3601, 500)])
def test_the_axis_has_round_marks(total, step):
    assert _tick(total) == pytest.approx(step)


class Balanced(HTMLParser):
    """Notes what is opened and not closed, and everything that a page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.loaded = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href")]
        assert tag not in ("script", "link", "img", "iframe")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a<b").write_bytes(b"x" * 300_000)
    (folder / "Dockerfile").write_text(
        'FROM scratch AS first\nCOPY ["a<b", "/a"]\nFROM scratch\nCOPY --from=first /a /b\nCOPY ["a<b", "/c&d"]\n'
    )
    return folder


def test_the_page_is_whole_and_loads_nothing(context, tmp_path, capsys):
    place = tmp_path / "timeline.html"
    assert run(["build", "-t", "x", "--timeline", str(place), str(context)]) == 0
    first = place.read_text()
    assert run(["build", "-t", "x", f"--timeline={place}", str(context)]) == 0
    for text in (first, place.read_text()):
        page = Balanced()
        page.feed(text)
        assert page.open == [] and page.loaded == [] and "url(" not in text and "http" not in text
        assert "a&lt;b" in text and "a<b" not in text and "&amp;d" in text
    assert "Critical path" in first and re.search(r"left:[0-9.]+%;width:[0-9.]+%", first)
    assert place.read_text().count('class="hit">hit ← build #1 of x:latest') == 3


def test_a_failed_build_has_a_page_too(context, tmp_path, capsys):
    (context / "Dockerfile").write_text('FROM scratch\nCOPY ["a<b", "/a/"]\nCOPY Dockerfile /a/a<b/c\n')
    place = tmp_path / "timeline.html"
    assert run(["build", "--timeline", str(place), str(context)]) == 1
    text = place.read_text()
    assert '<b class="failed">failed</b>' in text and re.search(r"<b class='failed'>.*a&lt;b", text)


def test_a_page_that_cannot_be_written_is_said_before_the_build(context, tmp_path, capsys):
    assert run(["build", "--timeline", str(tmp_path / "no" / "page.html"), str(context)]) == 1
    captured = capsys.readouterr()
    assert "no such folder" in captured.err and "#1" not in captured.err
