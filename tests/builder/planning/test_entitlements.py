"""What a RUN may only do when whoever builds allows it (CVE-2024-23653 was a way around that)."""

from __future__ import annotations

import pytest

from pybuild.builder.errors import PlanError
from pybuild.builder.graph import BuildGraph, PlannedStage, RunStep, SourceStep
from pybuild.builder.planning.entitlements import check_entitlements
from pybuild.grammar import Source, Span
from pybuild.registry import ImageConfig, Platform
from pybuild.values import replace

SPAN = Span(2, 1, 2, 4)
SOURCE = Source("Dockerfile", "FROM scratch\nRUN x\n")
RUN = RunStep("RUN x", SPAN, 0, ("x",), (), (), "/", "", "RUN x")


def graph(step):
    stage = PlannedStage("0", 1, ImageConfig(Platform("linux", "amd64")))
    return BuildGraph((SourceStep("FROM scratch", SPAN, "scratch", None), step), (stage,))


@pytest.mark.parametrize(
    ("change", "name"), [({"security": "insecure"}, "security.insecure"), ({"network": "host"}, "network.host")]
)
def test_it_takes_an_entitlement(change, name):
    step = replace(RUN, **change)
    with pytest.raises(PlanError) as caught:
        check_entitlements(graph(step), (), SOURCE)
    assert caught.value.hint.endswith(f"--allow {name}")
    assert caught.value.span == SPAN and caught.value.exit_code == 2
    check_entitlements(graph(step), (name,), SOURCE)


@pytest.mark.parametrize("network", ["default", "none"])
def test_all_else_takes_none(network):
    check_entitlements(graph(replace(RUN, network=network)), (), SOURCE)
