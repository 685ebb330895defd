"""Attacks that have worked elsewhere, tried on a sandbox: each is named after the hole that it used."""

from __future__ import annotations

import os
import re
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pybuild.builder.errors import SandboxError
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.sandbox.spec import Attachment, Folder

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def overwriter(tmp_path_factory, lower):
    """An image with a program in the place of every loader that the interpreter of pybuild could name."""
    folder = tmp_path_factory.mktemp("overwriter")
    folder.chmod(0o755)
    program = folder / "program"
    source = Path(__file__).with_name("overwrite.c")
    subprocess.run(["gcc", "-nostdlib", "-static-pie", "-fno-stack-protector", "-O1", "-o", program, source], check=True)
    headers = subprocess.run(
        ["readelf", "-lW", os.path.realpath(sys.executable)], capture_output=True, text=True, check=True
    ).stdout
    loader = re.search(r"interpreter: (\S+)\]", headers).group(1)
    (folder / loader[1:]).parent.mkdir(parents=True)
    os.link(program, folder / loader[1:])
    (folder / "script").write_text("#!/proc/self/exe\n")
    (folder / "script").chmod(0o755)
    (folder / "link").symlink_to("/proc/self/exe")
    return (folder, lower)


@pytest.mark.parametrize("name", ["script", "link"])
def test_cve_2019_5736_the_interpreter_of_pybuild_cannot_be_changed_from_inside(sandbox, overwriter, name):
    before = os.stat(os.path.realpath(sys.executable))
    code, output, _ = sandbox("", lowers=overwriter, argv=(f"/{name}",))
    assert "changed" not in output and code == 126
    assert os.stat(os.path.realpath(sys.executable)).st_ctime_ns == before.st_ctime_ns
    # The attack itself is one: where it is not kept from it, it says so.
    assert sandbox("", lowers=overwriter, argv=("/program",))[1] == "/program changed\n"


@pytest.fixture
def leaking(tmp_path):
    """A directory of the host's that is open all over this process, and inherited, when the server starts."""
    folder = tmp_path / "host"
    folder.mkdir()
    (folder / "of-the-host").touch()
    descriptors = [os.open(folder, os.O_RDONLY) for _ in range(20)]
    high = 4000
    os.dup2(descriptors[0], high)
    for descriptor in (*descriptors, high):
        os.set_inheritable(descriptor, True)
    # Above the limit there may be descriptors too, from when it was higher.
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for descriptor in (*descriptors, high):
        os.close(descriptor)


def test_cve_2024_21626_no_descriptor_of_the_host_is_a_working_directory_or_a_way_out(leaking, sandbox):
    """WORKDIR /proc/self/fd/N, and what a command finds in its own descriptors."""
    _, output, _ = sandbox("for f in /proc/self/fd/* /proc/1/fd/*; do ls -l $f; ls $f/ 2>&1; done")
    assert "of-the-host" not in output
    assert sandbox("ls /proc/self/fd")[1].split() == ["0", "1", "2", "3"]
    for number in (*range(3, 40), 4000):
        for end in ("", "/../../../../..", "/."):
            try:
                _, output, _ = sandbox("ls; pwd -P", cwd=f"/proc/self/fd/{number}{end}")
            except SandboxError:
                continue
            assert "of-the-host" not in output
    for path in ("/proc/self/cwd", "/proc/1/cwd/..", "/proc/self/root/../..", "/proc/1/root"):
        _, output, _ = sandbox("ls / > /tmp-a; ls . > /tmp-b; cat /tmp-b", cwd=path)
        assert "private" in output and "home" not in output


@pytest.fixture
def device_cache(tmp_path):
    """A cache for /dev, in which a step before has put links where devices are meant to be."""
    folder = tmp_path / "dev"
    (folder / "pts").mkdir(parents=True)
    target = tmp_path / "target"
    target.write_text("of the host\n")
    for name in ("null", "console", "pts/0", "pts/ptmx", "tty", "shm", "mqueue"):
        (folder / name).symlink_to(target if name != "null" else "/proc/sysrq-trigger")
    return folder, target


@pytest.fixture
def as_dev(device_cache, tmp_path):
    """That cache, mounted as /dev."""
    (tmp_path / "mountpoint").mkdir()
    return (Attachment("/dev", Folder(str(device_cache[0]), str(tmp_path / "mountpoint"))),)


@pytest.mark.parametrize("null", ["a link", "away"])
def test_cve_2025_31133_what_is_hidden_is_hidden_by_no_null_of_a_cache(sandbox, device_cache, as_dev, null):
    """With /dev/null swapped for a link, before what is hidden is covered with it, or away, so that nothing is."""
    folder, target = device_cache
    if null == "away":
        (folder / "null").unlink()
    script = (
        "for f in kcore keys timer_list interrupts; do stat -c '%F %t:%T' /proc/$f; done; ls -A /proc/scsi /sys/firmware; mount"
    )
    _, output, _ = sandbox(script, attachments=as_dev)
    assert output.count("character special file 1:3") + output.count("No such file") >= 3 and "regular" not in output
    assert str(target) not in output
    assert target.read_text() == "of the host\n"
    for path in filter(os.path.exists, ("/proc/sys", "/proc/sysrq-trigger", "/proc/bus")):
        assert any(f" {path} " in line and "(ro," in line for line in output.splitlines()), path


def test_cve_2025_52565_a_terminal_is_mounted_over_no_link_of_a_cache(sandbox, device_cache, as_dev):
    """With /dev/console and /dev/pts/N swapped for links, before the command's terminal is put there."""
    folder, target = device_cache
    links = {folder / name: f"{'../' * (name.count('/') + 1)}suid/sleep" for name in ("console", "pts/0", "pts/ptmx", "tty")}
    for link, place in links.items():
        link.unlink()
        # Found in the image from outside of it, too, where terminals are put up.
        link.symlink_to(place)
    ours, theirs = os.openpty()
    try:
        # Not much, for nobody reads it before the end.
        script = "mount | busybox tail -n 8; echo end"
        code, _, _ = sandbox(script, attachments=as_dev, streams=(theirs, theirs, theirs), has_terminal=True)
        assert code == 0
        output = ""
        while not output.endswith("end\r\n"):
            output += os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    mounted = [line.split(" on ")[1].split(" type ")[0] for line in output.splitlines() if " on " in line]
    assert mounted[-1] == "/dev", output
    assert target.read_text() == "of the host\n"
    assert {link: os.readlink(link) for link in links} == links


def test_cve_2025_52881_writes_go_to_no_other_file_of_proc(sandbox, tmp_path):
    """An image, or a cache, that has something in /proc's place: what is written there would go elsewhere."""
    for name in ("proc", "sys", "dev"):
        image = tmp_path / f"link-{name}"
        image.mkdir()
        (image / name).symlink_to(str(tmp_path / "elsewhere"))
        with pytest.raises(SandboxError, match=f"/{name} is no directory"):
            sandbox("true", lowers=(image, sandbox.lower))
    (tmp_path / "mountpoint").mkdir()
    (tmp_path / "cache").mkdir()
    for target in ("/proc/self/attr", "/proc/sys", "/proc/1"):
        with pytest.raises(SandboxError, match="nothing may be mounted in /proc"):
            sandbox("true", attachments=(Attachment(target, Folder(str(tmp_path / "cache"), str(tmp_path / "mountpoint"))),))


def test_groups_of_whoever_builds_are_not_the_command_s(sandbox):
    """The group of an administrator, or one that is there to take rights away."""
    before = os.getgroups()
    os.setgroups([*before, 4242])
    server = SpawnServer.start()
    try:
        os.setgroups(before)
        for account in ({}, {"account": sandbox.user}):
            _, output, _ = sandbox("id; cat /proc/self/status", server=server, **account)
            assert "4242" not in output
    finally:
        server.close()


def test_devices_of_the_host_are_not_there(sandbox):
    _, output, _ = sandbox("ls -l /dev")
    kinds = [line for line in output.splitlines() if line.startswith(("b", "c"))]
    assert {line.split()[-1] for line in kinds} == {"full", "null", "random", "tty", "urandom", "zero"}
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
