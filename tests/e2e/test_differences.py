"""The same Dockerfiles built by buildah: what differs has its reason."""

from __future__ import annotations

import pytest
from real.differences import CASES, differences

pytestmark = [pytest.mark.root, pytest.mark.peers("buildah"), pytest.mark.slow]


@pytest.mark.parametrize(
    "name", ["add-archive", "config", "copy-ignored", "copy-link", "copy-modes", "copy-names", "copy-stages", "tour"]
)
def test_every_difference_from_buildah_has_its_reason(name, tmp_path):
    found = differences(name, CASES / name / "context", tmp_path)
    assert [item for item in found if not item.why] == []
    assert len(found) <= 4


def test_a_difference_is_seen(tmp_path):
    context = tmp_path / "context"
    (context / "d").mkdir(parents=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY d /d\nEXPOSE 1-2/UDP\n")
    (tmp_path / "out").mkdir()
    found = differences("other", context, tmp_path / "out")
    assert {item.what.partition(" ")[2] for item in found} == {"config.WorkingDir", "config.ExposedPorts"}
