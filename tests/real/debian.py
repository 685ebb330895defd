"""A real Debian to build upon: a base that mmdebstrap made, and a folder of packages that it lacks, with its index."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SUITE = "bookworm"
_PACKAGES = ("sudo", "libcap2-bin", "gcc", "libc6-dev")
# As in Debian's own images that are called slim; nothing here looks at it, and it is a third of all files.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


@dataclass(frozen=True, slots=True)
class Debian:
    """`rootfs` is an archive; `packages` a folder of .deb files that is a repository for apt, too."""

    rootfs: Path
    packages: Path


def make(folder: Path) -> Debian:
    """Make both, in a quarter of a minute."""
    rootfs, packages = folder / "rootfs.tar", folder / "packages"
    packages.mkdir()
    # By the lists and settings of what was made just now, not by this machine's.
    fetch = "APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get install -qq --yes --download-only --no-install-recommends"
    _run(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=apt",
        "--skip=output/dev",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        f"--customize-hook={fetch} {' '.join(_PACKAGES)} && mv \"$1\"/var/cache/apt/archives/*.deb {packages}",
        _SUITE,
        rootfs,
    )
    (packages / "Packages").write_text("".join(_stanza(path) for path in sorted(packages.glob("*.deb"))))
    return Debian(rootfs, packages)


def _stanza(path: Path) -> str:
    told = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{told}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n\n"


def _run(*command: object) -> None:
    # In memory if that can be had: dpkg waits for the disk all the time.
    place = {"TMPDIR": "/dev/shm"} if os.path.isdir("/dev/shm") else {}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env={**os.environ, **place})
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
