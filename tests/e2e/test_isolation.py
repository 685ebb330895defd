"""RUN where namespaces or overlays are not to be had: in a real container without privileges, and on stores where none can be mounted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from real.command import COMMAND
from real.ordinary_user import run_as_user

from pybuild.builder.layers.changes import changes
from pybuild.builder.layers.extraction import index
from pybuild.builder.layers.index import MergedView, TreeView
from pybuild.builder.layers.plain import PlainCopy
from pybuild.registry import Store

pytestmark = [pytest.mark.root, pytest.mark.peers("umoci", "newuidmap"), pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]

EDITS = """FROM ubuntu
RUN mkdir -p /d/sub /e && echo one > /d/old && echo two > /e/one && ln /e/one /e/two && mkfifo /e/pipe && chown -R 7:8 /e
RUN rm -r /d && mkdir /d && touch /d/new && echo more >> /d/new && rm -r /tmp && ln -s /e /l && chmod 700 /etc && : >> /etc/passwd
USER user
RUN id > /d.txt 2> /dev/null || id > /dev/null
"""


@pytest.fixture
def build(pybuild, ubuntu, context):
    def run(dockerfile, *options, code=0):
        folder = context(dockerfile)
        base = f"ubuntu=oci-layout://{ubuntu}"
        command = ("build", "--progress", "plain", "-t", "own", "--timestamp", "1600000000", "--build-context", base)
        return pybuild(*command, *options, folder, code=code).err

    return run


@pytest.fixture
def identity(pybuild):
    return lambda *options: json.loads(pybuild(*options, "inspect", "own").out)[0]["Id"]


def on_overlay(folder: Path) -> str:
    """Shell that puts an overlay over a folder: a store in it is where the kernel takes no overlay."""
    return (
        f"mkdir -p {folder} /dev/shm/pybuild && mount -t tmpfs tmpfs /dev/shm/pybuild && mkdir /dev/shm/pybuild/u /dev/shm/pybuild/w"
        f" && chmod 755 /dev/shm/pybuild && mount -t overlay overlay"
        f" -o lowerdir={folder},upperdir=/dev/shm/pybuild/u,workdir=/dev/shm/pybuild/w {folder} && chmod 777 {folder}"
    )


def test_chroot_makes_the_layers_that_namespaces_make(build, identity):
    said = build(EDITS, "--isolation", "chroot")
    assert said.count("by chroot and by nothing else") == 1
    first = identity()
    build(EDITS, "--no-cache")
    assert identity() == first


# Without this capability there is no process namespace either, and nobody but a supervisor to end what is left.
@pytest.mark.parametrize("prefix", [(), ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")])
class TestChroot:
    def command(self, prefix, root, ubuntu, folder):
        arguments = ("build", "--progress", "plain", "--isolation", "chroot", "--build-context", f"ubuntu=oci-layout://{ubuntu}")
        return [*map(str, (*prefix, *COMMAND, "--root", root, *arguments, folder))]

    def test_it_ends_what_a_command_leaves_running(self, prefix, context, ubuntu, root):
        folder = context("FROM ubuntu\nRUN (sleep 76543 &) ; sleep 76543 & exit 0\n")
        done = subprocess.run(self.command(prefix, root, ubuntu, folder), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        wait_for_no("sleep 76543")
        assert not os.listdir(root / "tmp")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_it_ends_with_pybuild(self, prefix, context, ubuntu, root, number):
        folder = context("FROM ubuntu\nRUN (sleep 76542 &) ; trap '' INT TERM; echo rea''dy; sleep 76542; sleep 76542\n")
        with subprocess.Popen(self.command(prefix, root, ubuntu, folder), stderr=subprocess.PIPE, text=True) as process:
            assert any("ready" in line for line in process.stderr)
            process.send_signal(number)
            process.stderr.read()
            process.wait()
        wait_for_no("sleep 76542")

    def test_it_passes_on_exit_codes(self, prefix, context, ubuntu, root):
        for script, code in (("exit 7", 7), ("sh -c 'kill -9 $$'; exit $?", 137)):
            command = self.command(prefix, root, ubuntu, context(f"FROM ubuntu\nRUN {script}\n"))
            assert subprocess.run(command, capture_output=True, check=False).returncode == code


def wait_for_no(text: str) -> None:
    for _ in range(200):
        if text not in (left := subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout):
            return
    raise AssertionError(left)


def test_chroot_leaves_nothing_of_what_it_puts_in(build, root):
    build("FROM ubuntu\nRUN cat /etc/hosts && echo x > /dev/null && touch /dev/shm/x && rm /etc/hosts\n", "--isolation", "chroot")
    store = Store.open(root)
    image = store.find("own")
    # A directory was written in; the file that was removed was not the image's.
    assert [entry.path for entry in index(image.manifest.layers[-1], store, image.config.diff_ids[-1])] == ["etc"]


def test_a_link_in_the_way_leads_nowhere(build, tmp_path):
    """What is taken out after the command is sought in its folder, whatever the command has put there."""
    for name in ("hosts", "hostname", "resolv.conf"):
        (tmp_path / name).touch()
    (tmp_path / "null").write_text("mine")
    for isolation in ("chroot", "namespaces"):
        build(
            f"FROM ubuntu\nRUN mv /etc /x; ln -s {tmp_path} /etc; mv /dev /y; ln -s {tmp_path} /dev; true\n",
            "--isolation",
            isolation,
            "--no-cache",
        )
        assert (tmp_path / "null").read_text() == "mine"
        assert all((tmp_path / name).exists() for name in ("hosts", "hostname", "resolv.conf"))


def test_on_an_overlay_the_file_system_is_copied(build, identity, context, ubuntu, tmp_path):
    build(EDITS)
    expected = identity()
    place = tmp_path / "overlaid"
    arguments = (
        "build",
        "--progress",
        "plain",
        "-t",
        "own",
        "--timestamp",
        "1600000000",
        "--build-context",
        f"ubuntu=oci-layout://{ubuntu}",
    )
    script = f"{on_overlay(place)}; \"$@\" && {sys.executable} -c \"import shutil; shutil.copytree('{place}/store', '{tmp_path}/kept', symlinks=True)\""
    command = (*COMMAND, "--root", place / "store", *arguments, tmp_path / "context")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.count("no overlay in") == 1
    assert "each RUN works on a copy" in done.stderr and "built own:latest" in done.stderr
    index = json.loads((tmp_path / "kept/index.json").read_text())
    manifest = tmp_path / "kept/blobs/sha256" / index["manifests"][0]["digest"].removeprefix("sha256:")
    assert json.loads(manifest.read_text())["config"]["digest"] == expected


def test_as_an_ordinary_user_too(ubuntu, home):
    shutil.copytree(ubuntu, home / "ubuntu")
    subprocess.run(["chown", "-R", "4321", home / "ubuntu"], check=True)
    (home / "context").mkdir()
    (home / "context/Dockerfile").write_text(EDITS)
    options = ("--progress", "plain", "--timestamp", "1600000000", "--build-context", f"ubuntu=oci-layout://{home}/ubuntu")

    def built(store, *more, **values):
        done = run_as_user(home, *COMMAND, "--root", home / store, "build", *options, *more, home / "context", **values)
        assert done.returncode == 0, done.stdout
        return done.stdout, done.stdout.rpartition("built ")[2].split()[0]

    _, expected = built("plain")
    said, identity = built("over/store", extra=on_overlay(home / "over"))
    assert identity == expected and "each RUN works on a copy" in said
    said, identity = built("plain", "--no-cache", "--isolation", "chroot")
    assert identity == expected and "by chroot and by nothing else" in said


@pytest.mark.peers("dockerd")
def test_in_a_container_without_privileges(docker, ubuntu, context, tmp_path):
    """docker's own: unshare and mount are refused, root has the fourteen capabilities."""
    subprocess.run(
        ["skopeo", "copy", f"oci:{ubuntu}:latest", f"docker-archive:{tmp_path}/image.tar:base:1"], check=True, capture_output=True
    )
    subprocess.run([*docker, "load", "-i", tmp_path / "image.tar"], check=True, capture_output=True)
    folder = context("FROM ubuntu\nRUN id && touch /f && chown 5:6 /f && mkdir /tmp/x && echo x > /dev/null\nUSER user\nRUN id\n")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "Dockerfile").write_text("FROM ubuntu\nCOPY Dockerfile /\nWORKDIR /w\n")
    needed = {
        str(Path(os.path.realpath(sys.executable)).parents[1]),
        sys.prefix,
        "/usr",
        "/lib",
        "/lib64",
        str(ROOT),
        str(ubuntu),
        str(tmp_path),
    }
    volumes = [
        option
        for path in sorted(needed)
        if os.path.exists(path)
        for option in ("-v", f"{path}:{path}:{'rw' if path == str(tmp_path) else 'ro'}")
    ]

    def inside(*arguments):
        command = [*docker, "run", "--rm", "--network", "none", *volumes, "base:1", *COMMAND, "--root", "/store", *arguments]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)

    base = ("--progress", "plain", "--build-context", f"ubuntu=oci-layout://{ubuntu}")
    done = inside("build", *base, folder)
    assert done.returncode == 0, done.stderr
    assert "by chroot and by nothing else" in done.stderr and "Namespaces are refused" in done.stderr
    assert "uid=1000(user) gid=100(users)" in done.stderr
    assert inside("build", *base, plain).returncode == 0
    refused = inside("build", *base, "--isolation", "namespaces", folder)
    assert refused.returncode == 125 and "pybuild doctor" in refused.stderr
    doctor = inside("doctor")
    assert doctor.returncode == 0 and "levels: namespaces no, user namespaces no, chroot yes\nRUN uses: chroot" in doctor.stdout


def test_a_copy_is_compared_as_an_overlay_is(tmp_path):
    lower = tmp_path / "lower"
    (lower / "d").mkdir(parents=True)
    (lower / "d/same").write_text("same")
    (lower / "d/gone").write_text("gone")
    os.link(lower / "d/same", lower / "linked")
    copy = PlainCopy([str(lower)], str(tmp_path / "root"))
    assert (tmp_path / "root/linked").stat().st_ino == (tmp_path / "root/d/same").stat().st_ino
    (tmp_path / "root/d/gone").unlink()
    copy.write_changes(str(tmp_path / "upper"))
    found = changes(str(tmp_path / "upper"), MergedView([TreeView(str(lower))]))
    assert [(entry.path, entry.kind.name) for entry in found] == [("d", "DIRECTORY"), ("d/gone", "WHITEOUT")]
