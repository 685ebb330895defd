"""On what a command runs: an overlay, or a copy where the kernel has none, or takes not so many layers."""

from __future__ import annotations

import pytest

from pybuild.builder.sandbox.ground import Ground
from pybuild.builder.steps.roots import CopiedRoot, OverlayRoot, make_root


@pytest.mark.root
def test_more_layers_than_overlay_takes_are_copied(tmp_path):
    trees = []
    for number in range(501):
        tree = tmp_path / f"tree{number}"
        tree.mkdir()
        (tree / "last").write_text(str(number))
        (tree / f"own{number}").touch()
        trees.insert(0, str(tree))
    for name, some, kind in (("few", trees[1:], OverlayRoot), ("many", trees, CopiedRoot)):
        (tmp_path / name).mkdir()
        root = make_root(Ground("namespaces", "overlay"), some, str(tmp_path / name))
        assert isinstance(root, kind)
    assert (tmp_path / "many/root/last").read_text() == "500"
    assert len(list((tmp_path / "many/root").iterdir())) == 502
