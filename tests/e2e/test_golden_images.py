"""Golden folders: the config and every header of every layer, to the byte, of images that are built at a fixed time.

A case is a folder fixtures/images/NAME with a context in it: `context/`, and `config.json` and `layers.txt` as they have to come
out. Files of the context get fixed times first, as a checkout keeps none.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from checker import listing

CASES = Path(__file__).resolve().parents[2] / "fixtures" / "images"
TIME = 1_700_000_000
# A checkout keeps no other bits of a mode, and no hard links: these files get them here.
MODES = {"setuid": 0o4755, "private": 0o600, "sticky": 0o1777}


def prepare(case: Path, folder: Path) -> Path:
    """The case's context, with fixed times and modes."""
    shutil.copytree(case / "context", folder, symlinks=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            is_plain = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(MODES.get(path.name, 0o755 if is_plain else 0o644))
        if path.name.startswith("linked-"):
            path.unlink()
            os.link(path.with_name(path.name.removeprefix("linked-")), path)
    for path in sorted(folder.rglob("*"), reverse=True):
        time_ns = (TIME - 10) * 10**9 + 5 if path.name == "nanoseconds" else TIME * 10**9
        os.utime(path, ns=(time_ns, time_ns), follow_symlinks=False)
    return folder


def pretty(content: bytes) -> str:
    return json.dumps(json.loads(content), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_an_image_comes_out_to_the_byte(case, pybuild, root, tmp_path, golden):
    folder = prepare(case, tmp_path / "context")
    out = tmp_path / "layout"
    options = ("--timestamp", TIME, "--platform", "linux/amd64")
    pybuild("build", "-t", "case", *options, "-o", f"type=oci,dest={out},tar=false", folder)
    index = json.loads((out / "index.json").read_text())
    digest = index["manifests"][0]["digest"]
    manifest = json.loads((out / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    config = (out / "blobs/sha256" / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes()
    golden(case / "config.json", pretty(config))
    golden(case / "layers.txt", f"config {manifest['config']['digest']}\n{listing(out, digest)}")
    again = pybuild("--root", tmp_path / "other", "build", "-q", *options, "--compression", "zstd", folder).out.strip()
    assert again == manifest["config"]["digest"]
