"""A real Debian, and what Dockerfiles do on it: packages by dpkg and by apt, accounts, sudo, capabilities, a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from real.command import COMMAND
from real.debian import Debian, make
from real.ordinary_user import run_as_user

pytestmark = [pytest.mark.root, pytest.mark.peers("mmdebstrap", "umoci", "newuidmap"), pytest.mark.slow]

# In a folder of its own, so that what a package's program cannot read is seen.
PROGRAM = '#include <stdio.h>\nint main(void) { return printf("compiled here\\n") < 0; }\n'
# The port that only who has the capability may have.
LISTEN = "use Socket; socket(S, PF_INET, SOCK_STREAM, 0) && bind(S, sockaddr_in(80, INADDR_ANY)) or die qq(no: $!\\n); print qq(listens\\n)"

BASE = """FROM scratch AS base
ADD rootfs.tar /
FROM base
ENV DEBIAN_FRONTEND=noninteractive
RUN --mount=source=packages,target=/packages dpkg --install /packages/sudo_*.deb /packages/libcap2-bin_*.deb
RUN useradd --create-home --groups sudo app && echo 'app ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/app && passwd -l app
RUN cp /usr/bin/perl /usr/local/bin/listen && setcap cap_net_bind_service+ep /usr/local/bin/listen && getcap /usr/local/bin/listen
"""
REST = f"""RUN --mount=source=packages,target=/packages \\
    echo 'deb [trusted=yes] file:/packages ./' > /etc/apt/sources.list && apt-get update && \\
    apt-get install --yes --no-install-recommends gcc libc6-dev && rm -r /var/lib/apt/lists/*
USER app
WORKDIR /home/app
COPY --chown=app hello.c .
RUN gcc -O2 -o hello hello.c && ./hello
RUN sudo sh -c 'id -u; chown daemon:adm hello; chmod 4750 hello' && ! ./hello
RUN --network=none listen -e '{LISTEN}' && ! perl -e '{LISTEN}'
RUN su -c true root < /dev/null 2>&1 | head -1; id
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory) -> Debian:
    return make(tmp_path_factory.mktemp("debian"))


@pytest.fixture
def folder(debian, tmp_path):
    """A context with all of it; links, for it is large."""

    def fill(place: Path, dockerfile: str) -> Path:
        place.mkdir()
        os.link(debian.rootfs, place / "rootfs.tar")
        shutil.copytree(debian.packages, place / "packages", copy_function=os.link)
        (place / "hello.c").write_text(PROGRAM)
        (place / "Dockerfile").write_text(dockerfile)
        return place

    return fill


ARGUMENTS = ("build", "--progress", "plain", "-t", "t")


def check(said: str) -> None:
    assert "Setting up sudo" in said and "Setting up gcc" in said
    assert "/usr/local/bin/listen cap_net_bind_service=ep\n" in said
    assert " compiled here\n" in said and " listens\n" in said and "uid=1000(app) gid=1000(app) groups=1000(app),27(sudo)" in said


def test_what_dockerfiles_do_on_it(pybuild, folder, root, tmp_path):
    check(pybuild(*ARGUMENTS, folder(tmp_path / "context", BASE + REST)).err)
    image = f"{root}:docker.io/library/t:latest"
    subprocess.run(["umoci", "unpack", "--image", image, tmp_path / "bundle"], check=True, capture_output=True)
    files = tmp_path / "bundle/rootfs"
    status = (files / "home/app/hello").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1, 4, 0o4750)
    told = subprocess.run(["getcap", files / "usr/local/bin/listen"], capture_output=True, text=True, check=True).stdout
    assert "cap_net_bind_service=ep" in told
    assert subprocess.run(["chroot", files, "dpkg", "--audit"], capture_output=True, check=True).stdout == b""
    assert os.stat(files / "usr/bin/sudo").st_mode & 0o7777 == 0o4755


def test_as_an_ordinary_user(folder, home):
    os.chmod(home, 0o755)
    done = run_as_user(home, *COMMAND, "--root", home / "store", *ARGUMENTS, folder(home / "context", BASE + REST))
    assert done.returncode == 0, done.stdout[-3000:]
    check(done.stdout)
    code = run_as_user(home, *COMMAND, "--root", home / "store", "run", "t", "sudo", "stat", "-c", "%u:%g:%a", "hello")
    assert code.stdout == "1:4:4750\n"


def test_by_chroot_alone(pybuild, folder, tmp_path):
    said = pybuild(*ARGUMENTS, "--isolation", "chroot", folder(tmp_path / "context", BASE)).err
    assert "Setting up sudo" in said and "/usr/local/bin/listen cap_net_bind_service=ep\n" in said
