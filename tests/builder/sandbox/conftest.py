"""A file system with a shell, and sandboxes over it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pybuild.builder.layers.index import MergedView, TreeView
from pybuild.builder.sandbox.folders import clear, make_overlay, make_stage, provide_files
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.sandbox.spec import Command, Setting, sandbox_mounts, traces
from pybuild.builder.steps.accounts import Account

_SETTING = ("network", "stack", "security", "shm_size")


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
        "ln",
        "ls",
        "sleep",
        "touch",
        "rm",
        "mkdir",
        "mount",
        "hostname",
        "nc",
        "timeout",
        "ip",
        "ps",
        "mv",
        "stat",
        "mknod",
        "kill",
        "pwd",
    ):
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "suid").mkdir()
    shutil.copy(busybox, folder / "suid/sleep")
    (folder / "suid/sleep").chmod(0o4755)
    (folder / "private").mkdir(mode=0o700)
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

    def run(script, *, lowers=None, output=None, streams=None, argv=None, server=server, setting=None, is_last=True, **values):
        folder = tmp_path / f"run{next(count)}"
        folder.mkdir()
        trees = tuple(str(path) for path in (lowers or (lower,)))
        overlay = make_overlay(str(folder), trees)
        special = {name: values.pop(name) for name in _SETTING if name in values}
        setting = setting or Setting(make_stage(str(folder)), **special)
        provide_files(str(folder), "box", setting.network)
        lookup = MergedView([TreeView(tree) for tree in trees]).lookup
        mounts, missing = sandbox_mounts(lookup, str(folder))
        made = traces(lookup, (item.target for item in values.get("attachments", ())))
        seen = bytearray()
        command = Command(
            argv=argv or ("/bin/sh", "-c", script),
            env=values.pop("env", (("PATH", "/bin"),)),
            cwd=values.pop("cwd", "/"),
            account=values.pop("account", Account(home="/root")),
            rootfs=overlay,
            setting=setting,
            hostname="box",
            mounts=mounts,
            missing=missing,
            **values,
        )
        if streams:
            code = server.run(command, output=None, streams=streams, is_last=is_last)
        else:
            code = server.run(command, output=output or (lambda stream, content: seen.extend(content)), is_last=is_last)
        clear(overlay.upper, (*(path for path, _ in missing), *made))
        return code, seen.decode(), Path(overlay.upper)

    run.lower = lower
    run.user = Account(1000, 100, (200,), "/", "user")
    return run
