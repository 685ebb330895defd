"""Some of the random fault scripts; `make faults` runs a thousand."""

from __future__ import annotations

import pytest
from real.bad_way import KINDS, by_chance
from real.fault_scripts import trial

pytestmark = [pytest.mark.slow, pytest.mark.peers("docker-registry")]


@pytest.mark.parametrize("kind", ["docker-registry", "serve"])
def test_over_a_bad_way_all_is_right_or_an_error_is_told(kind, tmp_path_factory):
    with trial(kind, tmp_path_factory.mktemp("faults")) as found:
        for seed in range(10_000, 10_015):
            found.run(seed)
    assert found.counts["right"] and found.counts["told"]


def test_the_scripts_have_every_kind_of_fault():
    assert {fault.kind for seed in range(200) for fault in by_chance(seed).values()} == set(KINDS)
