"""containerd pulls what pybuild pushed, checks and unpacks it, and pushes what pybuild then pulls."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time

import pytest
from e2e.test_serve import started
from real.foreign import run

from pybuild.registry import Store

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.peers("containerd", "ctr")]

_CONFIG = """\
version = 2
root = "{folder}/root"
state = "{short}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{short}/grpc"
[ttrpc]
address = "{short}/ttrpc"
"""
_START_SECONDS = 20


@pytest.fixture
def ctr(tmp_path, short):
    """A containerd of the test's own; what asks it for something."""
    folder = tmp_path / "containerd"
    folder.mkdir()
    (folder / "config.toml").write_text(_CONFIG.format(folder=folder, short=short))
    command = ("ctr", "--address", f"{short}/grpc", "--namespace", "tests")
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(["containerd", "--config", folder / "config.toml"], stdout=log, stderr=log)
    try:
        end = time.monotonic() + _START_SECONDS
        while not os.path.exists(f"{short}/grpc") or subprocess.run([*command, "version"], capture_output=True).returncode:
            assert daemon.poll() is None and time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.02)
        yield lambda *arguments: run(*command, *arguments)
    finally:
        daemon.terminate()
        daemon.wait()


@pytest.fixture
def place(request, tmp_path):
    """Where images go: docker-registry, or a store that takes pushes."""
    with contextlib.ExitStack() as resources:
        if request.param == "serve":
            yield resources.enter_context(started(tmp_path / "served", "--writable"))
        else:
            yield request.getfixturevalue("registry").host


@pytest.mark.parametrize("place", ["docker-registry", "serve"], indirect=True)
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_containerd_takes_what_was_pushed_and_gives_it_back(place, compression, ctr, pybuild, context, root, tmp_path):
    """Unpacked layers have the diffIDs of the config: containerd compares them."""
    name = f"{place}/containerd/{os.urandom(4).hex()}:v1"
    folder = context("FROM scratch\nCOPY a /a\nCOPY b /d/b\nENV X=1\n", a=os.urandom(300_000), b="b")
    pybuild("build", "-q", "-t", name, "--push", "--compression", compression, folder)
    image = Store.open(root).find(name)
    ctr("images", "pull", "--plain-http", "--snapshotter", "native", name)
    (line,) = (line for line in ctr("images", "ls").splitlines() if line.startswith(name))
    assert image.manifest.descriptor.digest in line
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    ctr("images", "mount", "--snapshotter", "native", name, mounted)
    try:
        assert (mounted / "d/b").read_text() == "b" and (mounted / "a").stat().st_size == 300_000
    finally:
        ctr("images", "unmount", mounted)
    other = name.replace(":v1", "-again:v2")
    ctr("images", "tag", name, other)
    ctr("images", "push", "--plain-http", other)
    pybuild("--root", tmp_path / "other", "pull", other)
    assert Store.open(tmp_path / "other").find(other).manifest == image.manifest


def test_containerd_takes_an_index_and_no_more_than_its_platform(ctr, pybuild, context, root, tmp_path):
    folder = context("FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /a\n", amd64="1", arm64="2")
    for platform in ("linux/amd64", "linux/arm64"):
        pybuild("build", "-q", "--platform", platform, "-t", f"app:{platform[6:]}", folder)
    pybuild("manifest", "create", "app:all", "store:app:amd64", "store:app:arm64")
    with started(tmp_path / "served", "--writable") as host:
        pybuild("manifest", "push", "app:all", f"{host}/app:all")
        ctr("images", "pull", "--plain-http", "--snapshotter", "native", "--platform", "linux/arm64", f"{host}/app:all")
        held = ctr("content", "ls", "-q").split()
    image = {name: Store.open(root).find(f"app:{name}") for name in ("amd64", "arm64")}
    assert image["arm64"].manifest.layers[0].digest in held and image["amd64"].manifest.layers[0].digest not in held
