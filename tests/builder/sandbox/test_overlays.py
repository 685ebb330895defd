"""Overlays by either way of mounting: as many layers, and nothing that has to be written to the disk first."""

from __future__ import annotations

import os

import pytest

from pybuild.builder.sandbox import kernel
from pybuild.builder.sandbox.folders import make_overlay
from pybuild.builder.sandbox.overlays import mount_by_page, mount_overlay
from pybuild.builder.sandbox.tries import attempt

pytestmark = [pytest.mark.root, pytest.mark.slow]


def mounted(action):
    """Do something in a mount namespace that goes with it."""

    def act():
        kernel.unshare(kernel.CLONE_NEWNS)
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        action()

    reason = attempt(act)
    assert reason is None, reason


@pytest.fixture
def layers(tmp_path):
    found = []
    for number in range(480):
        path = tmp_path / "layers" / f"{number:064}"
        path.mkdir(parents=True)
        (path / f"f{number}").write_text(str(number))
        found.append(str(path))
    return tuple(found)


@pytest.mark.parametrize("mount", [mount_overlay, mount_by_page])
def test_480_layers(mount, layers, tmp_path):
    (tmp_path / "box").mkdir()
    overlay = make_overlay(str(tmp_path / "box"), layers)

    def look():
        mount(overlay)
        assert sorted(os.listdir(overlay.mountpoint)) == sorted(f"f{number}" for number in range(480))
        with open(f"{overlay.mountpoint}/f479", "w") as file:
            file.write("changed")

    mounted(look)
    assert os.listdir(overlay.upper) == ["f479"]


def test_it_is_mounted_from_a_folder_that_is_gone(tmp_path):
    for name in ("box", "gone"):
        (tmp_path / name).mkdir()
    overlay = make_overlay(str(tmp_path / "box"), ())

    def look():
        os.chdir(tmp_path / "gone")
        os.rmdir(tmp_path / "gone")
        mount_by_page(overlay)
        os.mkdir(f"{overlay.mountpoint}/made")

    mounted(look)


def test_it_is_volatile_and_can_be_mounted_again(tmp_path):
    (tmp_path / "box").mkdir()
    overlay = make_overlay(str(tmp_path / "box"), ())

    def look():
        mount_overlay(overlay)
        with open("/proc/self/mountinfo") as file:
            line = next(line for line in file if overlay.mountpoint in line)
        assert "volatile" in line and "redirect_dir=nofollow" in line

    mounted(look)
    mounted(look)
