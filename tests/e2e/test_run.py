"""`pybuild run`: what was built runs, with its exit code, its signals and its streams passed on; nothing of it stays."""

from __future__ import annotations

import contextlib
import gzip
import os
import pty
import select
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from real.command import COMMAND

import pybuild as pybuild_api

pytestmark = [pytest.mark.root, pytest.mark.peers("umoci")]


@pytest.fixture
def image(pybuild, ubuntu, context):
    """An image with a shell."""
    folder = context("FROM ubuntu\nENV GREETING=hello\nWORKDIR /place\nRUN adduser -D someone 2>/dev/null; echo file > f\n")
    pybuild("build", "-t", "shell", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)
    return "shell"


def clean(root: Path) -> bool:
    return not os.listdir(root / "tmp") and str(root) not in Path("/proc/mounts").read_text()


def test_streams_and_exit_code(pybuild, image, root):
    done = pybuild("run", image, "sh", "-c", "cat; echo err >&2; exit 9", code=9, stdin=b"in\n")
    assert (done.out, done.err) == ("in\n", "err\n")
    assert clean(root)


def test_environment_directory_and_host_name(pybuild, image):
    done = pybuild(
        "run",
        "-e",
        "OWN=1",
        "-e",
        "GREETING=hi",
        "--hostname",
        "box",
        image,
        "sh",
        "-c",
        "echo $GREETING $OWN $HOME; pwd; hostname",
    )
    assert done.out == "hi 1 /root\n/place\nbox\n"
    assert pybuild("run", "-w", "/new/folder", image, "pwd").out == "/new/folder\n"


def test_a_new_working_directory_leaves_those_above_it_as_they_are(pybuild, image):
    out = pybuild("run", "-w", "/tmp/new/folder", image, "sh", "-c", "pwd; stat -c %a /tmp /tmp/new").out
    assert out == "/tmp/new/folder\n1777\n755\n"


def test_users(pybuild, image):
    assert pybuild("run", "-u", "user:extra", image, "id").out == "uid=1000(user) gid=200(extra) groups=200(extra)\n"
    assert "no user 'nope'" in pybuild("run", "-u", "nope", image, "id", code=2).err


def test_what_it_writes_is_gone_the_next_time(pybuild, image):
    pybuild("run", image, "sh", "-c", "echo x > /place/f; touch /new")
    assert pybuild("run", image, "sh", "-c", "cat /place/f; ls / | grep -c new", code=1).out == "file\n0\n"


def test_networks(pybuild, image):
    only = pybuild("run", "--network", "none", image, "sh", "-c", "ip -o link | wc -l").out
    assert only == "1\n"
    host = pybuild("run", "--network", "host", image, "readlink", "/proc/self/ns/net").out.strip()
    assert host == os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_the_container(image, root, number):
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 5' {name}; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen(
        [*COMMAND, "--root", str(root), "run", image, "sh", "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.stdout.read() == f"got {name}\n"
    assert process.wait() == 5
    process.stdout.close()
    assert clean(root)


def test_the_third_ctrl_c_ends_what_does_not_listen(image, root):
    """Nothing that pid 1 has no handler for reaches it; docker gives up at the third too."""
    process = subprocess.Popen(
        [*COMMAND, "--root", str(root), "run", image, "sh", "-c", "trap 'echo got' INT; echo ready; while :; do read x; done"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in ("ready\n", "got\n", "got\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    assert process.wait(10) == 137
    process.stdout.close()
    assert clean(root)


def test_a_terminal_is_passed_on_and_its_ctrl_c_comes_once(image, root):
    script = (
        "trap 'echo got' INT; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo ready $TERM; while ! read line; do :; done; echo =$line"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(COMMAND[0], [*COMMAND, "--root", str(root), "run", image, "sh", "-c", script])
    with contextlib.ExitStack() as resources:
        stream = resources.enter_context(open(terminal, "r+b", buffering=0))
        ending = resources.enter_context(contextlib.ExitStack())
        ending.callback(os.kill, pid, signal.SIGKILL)

        def until(text: bytes) -> bytes:
            seen = b""
            while text not in seen:
                assert select.select([stream], [], [], 10)[0], f"nothing more after {seen!r}"
                seen += stream.read(4096)
            return seen

        until(b"ready xterm\r\n")
        stream.write(b"\x03")
        until(b"got\r\n")
        stream.write(b"line\n")
        assert b"got" not in until(b"=line\r\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        ending.pop_all()


@pytest.mark.parametrize("options", [[], ["-it"]])
def test_a_terminal_that_is_closed_ends_the_container(image, root, options):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(
            COMMAND[0],
            [*COMMAND, "--root", str(root), "run", *options, image, "sh", "-c", "echo ready; while :; do sleep 1; done"],
        )
    try:
        seen = b""
        while b"ready" not in seen:
            assert select.select([terminal], [], [], 10)[0]
            seen += os.read(terminal, 4096)
    finally:
        os.close(terminal)
    ended = os.pidfd_open(pid)
    try:
        assert select.select([ended], [], [], 10)[0], "it goes on without anybody who could end it"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ended)
    assert clean(root)


def test_a_thread_may_run_one_too(image, root):
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(pybuild_api.run, image, ["sh", "-c", "exit 6"], root=root).result(20) == 6


def test_kill_9_ends_the_container(image, root):
    process = subprocess.Popen(
        [*COMMAND, "--root", str(root), "run", image, "sh", "-c", "echo ready; sleep 65432"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.kill()
    # Its end of the pipe closes when the last process of the container has ended.
    assert process.stdout.read() == ""
    process.wait()
    process.stdout.close()
    assert str(root) not in Path("/proc/mounts").read_text()


def test_archives_that_add_unpacks(pybuild, ubuntu, context, tmp_path):
    folder = context(
        "FROM ubuntu\nADD a.tar.gz b.tar.xz c.tar.bz2 d.tar.zst e.tar plain.gz /out/\nCMD cd /out && ls -R && cat a/f\n"
    )
    for name, flag in (("a.tar.gz", "-z"), ("b.tar.xz", "-J"), ("c.tar.bz2", "-j"), ("e.tar", None)):
        inner = folder / name[0]
        inner.mkdir()
        (inner / "f").write_text(name)
        subprocess.run(["tar", "-C", folder, *([flag] if flag else []), "-cf", folder / name, name[0]], check=True)
    (folder / "d").mkdir()
    (folder / "d/f").write_text("d")

    raw = subprocess.run(["tar", "-C", folder, "-cf", "-", "d"], check=True, capture_output=True).stdout
    (folder / "d.tar.zst").write_bytes(zstandard.compress(raw))

    (folder / "plain.gz").write_bytes(gzip.compress(b"no archive"))
    pybuild("build", "-t", "archives", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)
    out = pybuild("run", "archives").out
    for name in "abcde":
        assert f"./{name}:\nf\n" in out
    assert "plain.gz" in out and out.endswith("a.tar.gz")
