"""A real Debian to build upon: a base that debootstrap made, and a folder of packages that it lacks, with its index."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SUITE = "bookworm"
_PACKAGES = ("sudo", "libcap2-bin", "gcc", "libc6-dev")


@dataclass(frozen=True, slots=True)
class Debian:
    """`rootfs` is an archive; `packages` a folder of .deb files that is a repository for apt, too."""

    rootfs: Path
    packages: Path


def make(folder: Path) -> Debian:
    """Make both; it takes half a minute, of which the most is debootstrap's."""
    rootfs, packages = folder / "rootfs.tar", folder / "packages"
    (packages / "partial").mkdir(parents=True)
    # In memory if that can be had: dpkg waits for the disk all the time.
    with tempfile.TemporaryDirectory(prefix="debian", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as top:
        _run("debootstrap", "--variant=minbase", _SUITE, top)
        _run("tar", "-C", top, "-cf", rootfs, "--xattrs", "--exclude=./var/cache/apt/archives/*.deb", "--exclude=./dev/*", ".")
        _run(
            "apt-get",
            "install",
            "-qq",
            "--yes",
            "--download-only",
            "--no-install-recommends",
            *(f"-o={option}" for option in _of_the_base(top, packages)),
            *_PACKAGES,
        )
    shutil.rmtree(packages / "partial")
    (packages / "lock").unlink(missing_ok=True)
    (packages / "Packages").write_text("".join(_stanza(path) for path in sorted(packages.glob("*.deb"))))
    return Debian(rootfs, packages)


def _of_the_base(top: str, packages: Path) -> tuple[str, ...]:
    """Options by which apt asks what the base lacks, not what this machine does."""
    return (
        f"Dir::State::Status={top}/var/lib/dpkg/status",
        f"Dir::Cache::archives={packages}/",
        "APT::Sandbox::User=root",
        "Debug::NoLocking=1",
    )


def _stanza(path: Path) -> str:
    told = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{told}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n\n"


def _run(*command: object) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
