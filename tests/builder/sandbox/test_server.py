"""Commands in real namespaces: what they see, what they leave, and that nothing survives them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pybuild.builder.errors import SandboxError
from pybuild.builder.layers.changes import changes
from pybuild.builder.layers.index import MergedView, TreeView
from pybuild.builder.sandbox import cgroups
from pybuild.builder.sandbox.folders import make_overlay, make_stage
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.sandbox.setup import go_to
from pybuild.builder.sandbox.spec import Command, Setting
from pybuild.builder.sandbox.tries import attempt
from pybuild.builder.steps.accounts import Account

pytestmark = pytest.mark.root
ROOT = Path(__file__).resolve().parents[3]


def program(folder, lowers, values, *, output, network="host"):
    """A Python program that tells the server's pid, runs `Command(<values>)`, and exits as that does."""
    return textwrap.dedent(f"""
        import sys; sys.path.insert(0, {str(ROOT)!r}); import pybuild; pybuild.__path__.append({str(ROOT)!r})
        from pybuild.builder.steps.accounts import Account
        from pybuild.builder.sandbox.folders import make_overlay, make_stage
        from pybuild.builder.sandbox.server import SpawnServer
        from pybuild.builder.sandbox.spec import Command, Setting
        overlay = make_overlay({str(folder)!r}, {tuple(map(str, lowers))!r})
        setting = Setting(make_stage({str(folder)!r}), {network!r})
        server = SpawnServer.start()
        print(server._pid, flush=True)
        sys.exit(server.run(Command({values}, missing=(('proc', True), ('dev', True), ('sys', True))), output={output}))
    """)


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
    tops = {line.split()[2].split("/")[1] for line in output.splitlines()}
    assert tops == {"", "proc", "dev", "sys", "etc"}
    assert f"{ROOT}/" not in output
    _, output, _ = sandbox("ls /")
    assert output.split() == ["bin", "dev", "etc", "private", "proc", "suid", "sys"]


def test_the_root_is_as_the_image_has_it(sandbox, tmp_path):
    image = tmp_path / "image"
    shutil.copytree(sandbox.lower / "bin", image / "bin", symlinks=True)
    os.chown(image, 7, 8)
    os.chmod(image, 0o751)
    os.utime(image, (5, 5))
    assert sandbox("stat -c '%a %u %g' /", lowers=(image,))[1] == "751 7 8\n"


def test_the_files_that_every_sandbox_has_cannot_be_written(sandbox):
    """Nothing of it would stay, and other steps have the same files."""
    code, output, _ = sandbox("cat /etc/hosts; echo x > /etc/hosts")
    assert code != 0 and "box" in output and "ead-only" in output


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
    line = next(line for line in sandbox("mount")[1].splitlines() if " /proc/sys " in line)
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(line.partition("(")[2].rstrip(")").split(","))


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


def test_a_working_directory_that_is_missing_is_made(sandbox):
    code, output, upper = sandbox("pwd", cwd="/new/folder", account=Account(1000, 1000))
    assert (code, output) == (0, "/new/folder\n")
    assert oct((upper / "new/folder").stat().st_mode) == "0o40755"


def test_a_working_directory_need_not_be_open_to_the_user(sandbox):
    assert sandbox("pwd", cwd="/private", account=Account(1000, 1000))[:2] == (0, "/private\n")


def test_cve_2024_21626_a_working_directory_outside_of_the_root_is_none(tmp_path, monkeypatch):
    """As if a descriptor of the host's had come along, and the working directory were that."""
    outside = os.open("/", os.O_RDONLY)
    monkeypatch.setattr(os, "chdir", lambda path: os.fchdir(outside))

    def enter():
        os.chroot(tmp_path)
        go_to("/proc/self/fd/7")

    assert "No such file" in attempt(enter)
    os.close(outside)


def test_a_working_directory_that_is_a_file_is_a_sandbox_error(sandbox):
    with pytest.raises(SandboxError, match="working directory: Not a directory: /bin/busybox") as caught:
        sandbox("true", cwd="/bin/busybox")
    assert caught.value.hint is not None and "CAP_SYS_ADMIN" not in caught.value.hint


@pytest.mark.parametrize("network", ["host", "none"])
@pytest.mark.parametrize(("argv", "code"), [(("/bin/sh", "-c", "exit 125"), 125), (("nope",), 127)])
def test_no_module_is_imported_from_the_image(lower, tmp_path, argv, code, network):
    """Not by pid 1, which has every capability at first, and by nobody outside: what has to be loaded is loaded before.

    In a program of its own, which has not loaded half of the library as pytest has.
    """
    image = tmp_path / "image"
    for folder in {path for path in sys.path if os.path.isdir(path)}:
        (image / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for name in sys.stdlib_module_names:
            (image / folder.lstrip("/") / f"{name}.py").write_text(f"import os; os.close(os.open('/run-{name}', os.O_CREAT))")
    (tmp_path / "box").mkdir()
    values = f"{argv!r}, (('PATH', '/bin'),), '/', Account(), overlay, setting"
    done = subprocess.run(
        [sys.executable, "-c", program(tmp_path / "box", (image, lower), values, output="lambda *_: None", network=network)],
        check=False,
    )
    assert done.returncode == code
    assert not [name for name in os.listdir(tmp_path / "box/upper") if name.startswith("run-")]


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


# A parent's death signal is forgotten when a setuid program starts.
SETUID = {"argv": ("/suid/sleep", "1000"), "account": Account(1000, 1000)}


def within(seconds, action):
    """What the action returns or raises, on a thread of its own; a failure if it takes longer."""
    result = []

    def run():
        try:
            result.append((action(), None))
        except BaseException as error:
            result.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, f"still at it after {seconds} s"
    value, error = result[0]
    if error is not None:
        raise error
    return value


def children(pid):
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def started(server):
    """Wait until the server's child has become a setuid program; its pid."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for pid in children(server._pid):
            if os.readlink(f"/proc/{pid}/exe").endswith("/suid/sleep"):
                return pid
    raise AssertionError("it did not start")


@pytest.mark.parametrize("action", ["interrupt", "close"])
def test_a_setuid_program_ends_too(sandbox, server, action):
    def act():
        started(server)
        getattr(server, action)()

    thread = threading.Thread(target=act)
    thread.start()
    assert within(10, lambda: sandbox("", **SETUID)[0]) == 137
    thread.join()


def test_when_the_server_is_killed_what_it_ran_ends(sandbox, server):
    def kill():
        started(server)
        os.kill(server._pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SandboxError, match="server was killed"):
        within(10, lambda: sandbox("", **SETUID))
    thread.join()
    with pytest.raises(SandboxError, match="does not listen"):
        sandbox("true")


@pytest.mark.parametrize("is_killed", [False, True])
def test_no_group_for_devices_is_left(sandbox, is_killed):
    """But where another build of this machine is in it."""
    server = SpawnServer.start()
    sandbox("true", server=server)
    groups = [f"{place.own}/pybuild-devices" for place in cgroups.for_devices()]
    held = [group for group in groups if str(server._pid) in procs(group)]
    assert held
    if is_killed:
        # As when pybuild is killed: nobody says that the server is to end.
        server._channel.close()
        os.waitpid(server._pid, 0)
    else:
        server.close()
    assert not any(os.path.exists(group) and not procs(group) for group in held)


def procs(group):
    try:
        return Path(f"{group}/cgroup.procs").read_text().split()
    except FileNotFoundError:
        return []


def test_what_the_listener_raises_ends_the_command(sandbox, server):
    def listen(stream: int, content: bytes) -> None:
        raise BrokenPipeError("nobody reads")

    with pytest.raises(BrokenPipeError):
        within(10, lambda: sandbox("echo ready; sleep 1000", output=listen))
    assert children(server._pid) == []
    assert sandbox("exit 3")[0] == 3


def test_a_handler_may_send_signals_at_any_moment(sandbox, server):
    before = signal.signal(signal.SIGALRM, lambda *_: server.signal(signal.SIGURG))
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        assert [sandbox("exit 4")[0] for _ in range(20)] == [4] * 20
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_next_sandbox_waits_while_a_command_runs(sandbox, server, tmp_path):
    stage = make_stage(str(tmp_path))

    def seen(script, setting, *, is_last=False):
        """What a command says, and the server's children while it runs."""
        during = []

        def output(stream, content):
            said.extend(content)
            during.extend(children(server._pid))

        said = bytearray()
        assert sandbox(script, output=output, setting=setting, is_last=is_last)[0] == 0
        return said.decode(), during

    server.expect(Setting(stage))
    while not (waiting := children(server._pid)):
        pass
    _, during = seen("echo; sleep 0.1", Setting(stage))
    assert waiting[0] in during
    (waiting,) = children(server._pid)
    # It is not for a command that wants another setting.
    said, during = seen("ip link; sleep 0.1", Setting(stage, "none"))
    assert "lo:" in said and said.count("mtu") == 1 and waiting not in during
    (waiting,) = children(server._pid)
    ended = os.pidfd_open(waiting)
    os.kill(waiting, signal.SIGKILL)
    assert select.select([ended], [], [], 10)[0]
    os.close(ended)
    said, during = seen("mount; sleep 0.1", Setting(stage, "none"), is_last=True)
    assert waiting not in during and stage not in said
    assert children(server._pid) == []


def test_the_server_holds_nothing_of_ours(tmp_path):
    with open(tmp_path / "file", "w"):
        server = SpawnServer.start()
    try:
        overlay = make_overlay(str(tmp_path), ())
        missing = (("proc", True), ("dev", True), ("sys", True))
        command = Command(("nope",), (), "/", Account(), overlay, Setting(make_stage(str(tmp_path))), missing=missing)
        assert server.run(command, output=lambda *_: None) == 127
        held = [os.readlink(f"/proc/{server._pid}/fd/{name}") for name in os.listdir(f"/proc/{server._pid}/fd")]
        assert str(tmp_path / "file") not in held
        assert os.getsid(server._pid) == server._pid
    finally:
        server.close()


def test_a_command_that_is_too_long(sandbox):
    with pytest.raises(SandboxError, match="too long"):
        sandbox("", argv=("/bin/echo", *("x" * 100_000 for _ in range(200))))


def test_several_at_once(sandbox):
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(sandbox(f"sleep 0.2; exit {n}")[0])) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("argv", "account"),
    [
        (("/bin/sh", "-c", "echo ready; sleep 1000"), Account()),
        (("/bin/sh", "-c", "echo ready; exec /suid/sleep 1000"), Account(1000, 1000)),
    ],
    ids=["plain", "setuid"],
)
def test_kill_9_leaves_no_process_and_no_mount(tmp_path, lower, argv, account):
    values = f"{argv!r}, (('PATH', '/bin'),), '/', {account!r}, overlay, setting"
    command = [sys.executable, "-c", program(tmp_path, (lower,), values, output="None")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    server = int(process.stdout.readline())
    assert process.stdout.readline() == "ready\n"
    (inside,) = children(server)
    if account.uid:
        while not os.readlink(f"/proc/{inside}/exe").endswith("/suid/sleep"):
            pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The pipe's other end closes with the last process of the sandbox.
    assert within(10, process.stdout.read) == ""
    process.stdout.close()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
