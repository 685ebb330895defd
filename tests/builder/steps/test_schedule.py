"""The order in which steps are made: each as soon as all that it reads is made, and never before."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.graph import BuildGraph, CopySource, CopyStep, HttpStep, MetaStep, PlannedStage, Root, RunStep, SourceStep
from pybuild.builder.steps.schedule import Schedule, under_runs
from pybuild.grammar import Span
from pybuild.registry import ImageConfig, Platform

SPAN = Span(1, 1, 1, 2)


def copy(parent: int, *origins: int, link: bool = False) -> CopyStep:
    return CopyStep("", SPAN, parent, tuple(CopySource(origin, "x") for origin in origins), "/", "", link=link)


def run(parent: int) -> RunStep:
    return RunStep("", SPAN, parent, ("x",), (), (), "/", "", "")


def graph_of(*steps) -> BuildGraph:
    return BuildGraph(steps, (PlannedStage("0", len(steps) - 1, ImageConfig(Platform("linux", "amd64"))),))


@st.composite
def graphs(draw) -> BuildGraph:
    steps: list = [SourceStep("", SPAN, "scratch", None)]
    for number in range(1, draw(st.integers(1, 14))):
        before = st.integers(0, number - 1)
        kind = draw(st.sampled_from(("source", "http", "meta", "copy", "link", "run")))
        if kind == "source":
            steps.append(SourceStep("", SPAN, "scratch", None))
        elif kind == "http":
            steps.append(HttpStep("", SPAN, "http://x", "x"))
        elif kind == "meta":
            steps.append(MetaStep("", SPAN, draw(before), ""))
        elif kind == "run":
            steps.append(run(draw(before)))
        else:
            steps.append(copy(draw(before), *draw(st.lists(before, max_size=2)), link=kind == "link"))
    return graph_of(*steps)


def solid(graph: BuildGraph) -> list[int]:
    return [number for number, step in enumerate(graph.steps) if not isinstance(step, SourceStep | MetaStep)]


def reads(graph: BuildGraph, number: int) -> set[int]:
    """All steps under what a step reads, as one would write it down."""
    step = graph.steps[number]
    lasts = [origin for origin in getattr(step, "origins", ()) if isinstance(origin, int)]
    if not isinstance(step, Root) and not (isinstance(step, CopyStep) and step.stands_alone):
        lasts.append(step.parent)
    return {item for last in lasts for item in graph.chain(last)}


@given(graphs(), st.data())
def test_a_step_is_ready_when_all_that_it_reads_is_made(graph, data):
    making = [number for number in solid(graph) if data.draw(st.booleans())]
    schedule, made, taken = Schedule(graph, making), set(), set()
    while schedule or taken - made:
        ready = schedule.ready(len(making))
        taken |= set(ready)
        expected = {number for number in making if not (reads(graph, number) & set(making)) - made}
        assert taken == expected
        chosen = data.draw(st.sampled_from(sorted(taken - made)))
        schedule.done(chosen)
        made.add(chosen)
    assert made == set(making)


@given(graphs())
def test_what_a_run_needs_as_directories(graph):
    making = solid(graph)
    expected = set()
    for number in making:
        if isinstance(graph.steps[number], RunStep):
            expected |= set(graph.chain(graph.steps[number].parent))
    assert under_runs(graph, making) == expected


def test_a_step_that_is_put_back_comes_again_and_the_first_come_first():
    schedule = Schedule(graph_of(SourceStep("", SPAN, "scratch", None), copy(0), copy(0), copy(0)), (1, 2, 3))
    assert schedule.ready(2) == [1, 2]
    schedule.put_back(1)
    assert schedule.ready(0) == [] and schedule.ready(5) == [1, 3]
    assert not schedule


def test_ten_thousand_steps_in_a_row_and_beside_each_other():
    row = graph_of(SourceStep("", SPAN, "scratch", None), *(run(number) for number in range(10_000)))
    wide = graph_of(SourceStep("", SPAN, "scratch", None), *(run(0) for _ in range(10_000)))
    started = time.process_time()
    for graph in (row, wide):
        schedule = Schedule(graph, solid(graph))
        while schedule:
            for number in schedule.ready(4):
                schedule.done(number)
        assert len(under_runs(graph, solid(graph))) in (1, 10_000)
    # A second where it takes a tenth of one; quadratic it would be minutes.
    assert time.process_time() - started < 1
