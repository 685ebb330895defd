"""--debug-on-error and --keep-failed: the shell is where the step was, on a terminal too; what is kept has no secret."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest
from e2e.test_run_mounts import SECRET, holders
from real.command import COMMAND

pytestmark = [pytest.mark.root, pytest.mark.slow]
LINES = (
    "FROM ubuntu",
    "ENV A=one",
    "RUN echo kept > /file",
    "USER user",
    "WORKDIR /tmp/place",
    "RUN --mount=type=secret,id=s,mode=0444,env=TOKEN,target=/run/secrets/s --mount=type=cache,target=/c echo left > /tmp/left; exit 9",
)


@pytest.fixture
def folder(context, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    return context("\n".join((*LINES, "")))


@pytest.fixture
def options(ubuntu, tmp_path):
    return ("--progress", "plain", "--build-context", f"ubuntu=oci-layout://{ubuntu}", "--secret", f"id=s,src={tmp_path}/secret")


def test_a_shell_as_the_step_s_user_in_its_directory_with_all_it_had(pybuild, folder, options):
    script = b"id; pwd; cat /file /tmp/left; wc -c < /run/secrets/s; echo ${#TOKEN} $A; ls -d /c; touch /x; exit 4\n"
    done = pybuild("build", "--debug-on-error", *options, folder, code=9, stdin=script)
    lines = done.out.splitlines()
    assert lines[0].startswith("uid=1000(user) gid=100")
    assert lines[1:] == ["/tmp/place", "kept", "left", str(len(SECRET)), f"{len(SECRET)} one", "/c"]
    assert "Leave it with 'exit'" in done.err and "exit code 9" in done.err
    assert "Permission denied" in done.err


def test_what_is_kept_is_an_image_without_secrets(pybuild, folder, options, root, tmp_path):
    done = pybuild("build", "--keep-failed", *options, folder, code=9)
    name = re.search(r"pybuild run -it (failed:\w+)", done.err).group(1)
    assert f"pybuild rmi {name}" in done.err
    found = pybuild(
        "run", name, "sh", "-c", "cat /file /tmp/left; pwd; id -un; echo $A $TOKEN; ls -d /run/secrets /c || true"
    ).out
    assert found == "kept\nleft\n/tmp/place\nuser\none\n"
    (tmp_path / "secret").unlink()
    assert holders(tmp_path) == []
    pybuild("rmi", name)
    assert "failed" not in pybuild("images").out


def test_an_image_without_a_shell(pybuild, context, root):
    done = pybuild("build", "--debug-on-error", context('FROM scratch\nRUN ["/nope"]\n'), code=127, stdin=b"")
    assert "There is no /bin/sh in it" in done.err


@pytest.mark.parametrize("flag", ["--debug-on-error", "--keep-failed"])
def test_what_a_step_has_left_in_the_way_of_mounts_reaches_nothing_outside(pybuild, context, busybox, tmp_path, flag):
    """In an image without /etc, which is then only a mount point's parent, and can be moved."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("hosts", "hostname"):
        (outside / name).touch()
    os.utime(outside, (1, 1))
    script = f"mv /etc /etc2 && ln -s {outside} /etc && exit 3"
    lines = ("FROM scratch", "COPY busybox /bin/sh", 'SHELL ["/bin/sh", "-c"]', f"RUN {script}", "")
    text = (
        "\n".join(lines)
        .replace("mv ", "busybox mv ")
        .replace("ln ", "busybox ln ")
        .replace("COPY busybox", "COPY busybox /bin/busybox\nCOPY busybox")
    )
    folder = context(text, busybox=busybox.read_bytes())
    (folder / "busybox").chmod(0o755)
    done = pybuild("build", "--progress", "plain", flag, folder, code=None, stdin=b"exit\n")
    assert done.code in (3, 125), done
    assert sorted(os.listdir(outside)) == ["hostname", "hosts"]
    assert outside.stat().st_mtime == 1


@contextlib.contextmanager
def terminal(*command: object):
    """A command on a terminal of 33 lines; a function that waits for a text on it, one that types, and the process."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen([*COMMAND, *command], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        end = time.monotonic() + 30
        while text not in seen:
            assert time.monotonic() < end, seen
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 4096).decode(errors="replace")

    try:
        yield until, lambda text: os.write(ours, text), process
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def is_running(name: bytes) -> bool:
    return name in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout


def test_on_a_terminal(folder, options, root):
    """Ctrl-C is the shell's, jobs can be controlled, and the window has its size."""
    with terminal("--root", root, "build", "--debug-on-error", *options, folder) as (until, type_in, process):
        until("Leave it with")
        until("$ ")
        type_in(b"stty size; echo in $((40 + 2)) | cat\n")
        until("33 77")
        until("in 42")
        type_in(b"sleep 1234\n")
        until("sleep 1234\r\n")
        while not is_running(b"sleep 1234"):
            pass
        type_in(b"\x03")
        type_in(b"echo still $((1 + 1))\n")
        until("still 2")
        type_in(b"exit\n")
        until("exit code 9")
        assert process.wait(30) == 9


def test_run_on_a_terminal(pybuild, ubuntu, context, root):
    pybuild("build", "-t", "own", "--build-context", f"ubuntu=oci-layout://{ubuntu}", context("FROM ubuntu\n"))
    options = ("-it", "--add-host", "there:10.1.2.3", "--shm-size", "2m", "--ulimit", "nofile=77")
    with terminal("--root", root, "run", *options, "own", "sh") as (until, type_in, process):
        until("# ")
        type_in(b"stty size; grep there /etc/hosts; df -k /dev/shm; ulimit -n; echo x >> /etc/hosts && echo done\n")
        for text in ("33 77", "10.1.2.3\tthere", " 2048 ", "\n77\r\n", "done"):
            until(text)
        type_in(b"exit 6\n")
        assert process.wait(30) == 6
