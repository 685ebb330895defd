"""Commands in real namespaces: what they see, what they leave, and that nothing survives them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pybuild.builder.accounts import Account
from pybuild.builder.errors import SandboxError
from pybuild.builder.layers.changes import changes
from pybuild.builder.layers.index import MergedView, TreeView
from pybuild.builder.sandbox.folders import clear, make_overlay, provide_files
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.sandbox.spec import Command, sandbox_mounts

pytestmark = pytest.mark.root
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def lower(tmp_path_factory, busybox):
    folder = tmp_path_factory.mktemp("lower")
    folder.chmod(0o755)
    (folder / "bin").mkdir()
    shutil.copy(busybox, folder / "bin/busybox")
    for name in (
        "sh",
        "echo",
        "id",
        "cat",
        "ls",
        "sleep",
        "touch",
        "rm",
        "mkdir",
        "mount",
        "hostname",
        "ip",
        "ps",
        "mv",
        "stat",
        "mknod",
        "kill",
    ):
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc").mkdir()
    (folder / "etc/hosts").write_text("the image's own\n")
    return folder


@pytest.fixture
def server():
    found = SpawnServer.start()
    yield found
    found.close()


@pytest.fixture
def sandbox(tmp_path, lower, server):
    """Run a shell script; its exit code, its output, and what it left in the upper directory."""
    count = iter(range(1000))

    def run(script, *, lowers=None, output=None, argv=None, **values):
        folder = tmp_path / f"run{next(count)}"
        folder.mkdir()
        trees = tuple(str(path) for path in (lowers or (lower,)))
        overlay = make_overlay(str(folder), trees)
        provide_files(str(folder), "box", values.get("network", "default"))
        mounts, missing = sandbox_mounts(MergedView([TreeView(tree) for tree in trees]).lookup, str(folder))
        seen = bytearray()
        command = Command(
            argv=argv or ("/bin/sh", "-c", script),
            env=values.pop("env", (("PATH", "/bin"),)),
            cwd=values.pop("cwd", "/"),
            account=values.pop("account", Account(home="/root")),
            rootfs=overlay,
            hostname="box",
            mounts=mounts,
            missing=missing,
            **values,
        )
        code = server.run(command, output=output or (lambda stream, content: seen.extend(content)))
        clear(overlay.upper, missing)
        return code, seen.decode(), Path(overlay.upper)

    return run


def test_output_exit_code_and_changes(sandbox, lower):
    code, output, upper = sandbox("echo out; echo err >&2; touch /new; rm /etc/hosts 2>/dev/null; exit 7")
    assert code == 7
    assert sorted(output.split()) == ["err", "out"]
    assert [entry.path for entry in changes(str(upper), MergedView([TreeView(str(lower))]))] == ["new"]


def test_it_is_pid_1_in_namespaces_of_its_own(sandbox):
    _, output, _ = sandbox("echo $$; hostname; cat /etc/hosts /etc/hostname; ls /proc | grep -c '^[0-9]*$'")
    lines = output.split("\n")
    assert lines[:2] == ["1", "box"]
    assert "the image's own" not in output
    assert int(lines[-2]) <= 3
    for name in ("mnt", "pid", "ipc", "uts"):
        _, output, _ = sandbox(f"ls -l /proc/self/ns/{name}")
        assert os.readlink(f"/proc/self/ns/{name}") not in output


def test_nothing_of_the_host_is_mounted(sandbox):
    _, output, _ = sandbox("mount")
    assert [line.split()[2] for line in output.splitlines()][0] == "/"
    assert str(ROOT) not in output
    _, output, _ = sandbox("ls /")
    assert output.split() == ["bin", "dev", "etc", "proc", "sys"]


def test_devices_and_standard_links(sandbox):
    code, output, _ = sandbox("echo x > /dev/null && cat /dev/full | :; ls /dev; echo in | cat /dev/stdin; touch /dev/shm/x")
    assert code == 0
    assert "in\n" in output
    assert {"null", "zero", "urandom", "pts", "shm", "mqueue", "fd", "stdout"} <= set(output.split())


def test_proc_and_sys_are_protected(sandbox):
    code, output, _ = sandbox("echo x > /proc/sys/kernel/hostname")
    assert code != 0 and "ead-only" in output
    assert sandbox("mkdir /sys/kernel/x")[0] != 0
    assert sandbox("cat /proc/interrupts")[1] == ""


def test_capabilities_are_docker_s(sandbox):
    _, output, _ = sandbox("cat /proc/self/status")
    status = dict(line.split(":\t", 1) for line in output.splitlines() if ":\t" in line)
    assert status["CapEff"] == status["CapBnd"] == "00000000a80425fb"
    assert status["CapAmb"] == "0000000000000000"
    assert sandbox("mount -t tmpfs x /etc")[0] != 0
    assert sandbox("mknod /disk b 8 0")[0] == 0


def test_the_account_is_taken(sandbox):
    _, output, _ = sandbox("id; cat /proc/self/status", account=Account(1000, 100, (200, 300), "/", "user"))
    assert output.startswith("uid=1000 gid=100 groups=100,200,300")
    assert "CapEff:\t0000000000000000" in output


def test_no_descriptor_leaks_and_umask_is_022(sandbox):
    with open("/etc/passwd") as held:
        os.set_inheritable(held.fileno(), True)
        _, output, upper = sandbox("ls /proc/self/fd; touch /f")
    assert output.split() == ["0", "1", "2", "3"]
    assert oct((upper / "f").stat().st_mode) == "0o100644"


def test_none_is_a_loopback_alone(sandbox):
    _, output, _ = sandbox("ip -o addr", network="none")
    assert "127.0.0.1" in output
    assert len({line.split()[1] for line in output.splitlines()}) == 1


@pytest.mark.parametrize(("argv", "code"), [(("nope",), 127), (("/etc/hosts",), 126), (("/bin",), 126)])
def test_what_is_no_program(sandbox, argv, code):
    assert sandbox("", argv=argv)[0] == code


def test_a_program_may_exit_with_125(sandbox):
    assert sandbox("exit 125")[0] == 125


def test_a_signal_is_128_and_its_number(sandbox):
    assert sandbox("sleep 100 & kill -9 $!; wait $!; exit $?")[0] == 137


def test_what_it_leaves_running_ends_with_it(sandbox):
    start = time.monotonic()
    code, output, _ = sandbox("sleep 1000 & echo started")
    assert (code, output) == (0, "started\n")
    assert time.monotonic() - start < 10


def test_a_missing_directory_is_a_sandbox_error(sandbox):
    with pytest.raises(SandboxError, match="No such file"):
        sandbox("true", cwd="/nowhere")


def test_mount_points_leave_no_trace(sandbox, tmp_path):
    bare = tmp_path / "bare"
    (bare / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox" if os.path.exists("/bin/busybox") else shutil.which("busybox"), bare / "bin/sh")
    os.utime(bare, (1_600_000_000, 1_600_000_000))
    _, _, upper = sandbox("true", lowers=(bare,))
    assert os.listdir(upper) == []
    assert upper.stat().st_mtime == 1_600_000_000


def test_480_layers(sandbox, lower, tmp_path):
    layers = []
    for number in range(480):
        path = tmp_path / "layers" / f"{number:064}"
        path.mkdir(parents=True)
        (path / f"f{number}").write_text(str(number))
        layers.append(path)
    code, output, _ = sandbox("cat /f0 /f479", lowers=(*layers, lower))
    assert (code, output) == (0, "0479")


def test_output_is_live_and_interrupt_ends_everything(sandbox, server):
    def interrupt(stream: int, content: bytes) -> None:
        assert content == b"ready\n"
        server.interrupt()

    start = time.monotonic()
    assert sandbox("echo ready; sleep 1000", output=interrupt)[0] == 137
    assert time.monotonic() - start < 10


def test_several_at_once(sandbox):
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(sandbox(f"sleep 0.2; exit {n}")[0])) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [1, 2, 3, 4, 5, 6]


def test_kill_9_leaves_no_process_and_no_mount(tmp_path, lower):
    program = textwrap.dedent(f"""
        import sys; sys.path.insert(0, {str(ROOT)!r}); import pybuild; pybuild.__path__.append({str(ROOT)!r})
        from pybuild.builder.accounts import Account
        from pybuild.builder.sandbox.folders import make_overlay
        from pybuild.builder.sandbox.server import SpawnServer
        from pybuild.builder.sandbox.spec import Command
        overlay = make_overlay({str(tmp_path)!r}, ({str(lower)!r},))
        command = Command(("/bin/sh", "-c", "echo ready; sleep 98765"), (("PATH", "/bin"),), "/", Account(), overlay)
        SpawnServer.start().run(command, output=lambda stream, content: print(content, flush=True))
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert b"ready" in process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 10
    while subprocess.run(["pgrep", "-f", "sleep 98765"], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < end, "a process is left"
        time.sleep(0.05)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_without_root_it_says_so(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError) as caught:
        SpawnServer.start()
    assert caught.value.exit_code == 125 and "root" in caught.value.message
