"""What goes wrong for users: each a message of one line and what to do next, the exit code, a store that is still right.

That the store keeps the rules of an image layout is held behind every test by the fixture in tests/conftest.py.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from checker import check_layout
from real.command import COMMAND
from real.foreign import TAG, run

AWAY = "hint: is it running, is the name right, and does the network reach it?"
# The sleep of a RUN that never ends by itself: nobody else sleeps for as long.
FOREVER = "86399.5"


@pytest.fixture(autouse=True)
def nothing_is_left(root):
    """No mount and no process of ours stays, and nothing unfinished in the store."""
    yield
    assert str(root.parent) not in Path("/proc/self/mounts").read_text()
    assert FOREVER not in processes()
    assert not list((root / "tmp").glob("*"))


def processes() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


def archive(*members: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            made.addfile(member)
    return out.getvalue()


USAGE = {
    "no context": (
        ("build", "{tmp}/none"), 1,
        "error: no such folder: {tmp}/none\nhint: the last argument is the build context, often '.'\n",
    ),
    "no Dockerfile": (
        ("build", "{tmp}"), 1,
        "error: no Dockerfile: {tmp}/Dockerfile\nhint: name it with -f FILE\n",
    ),
    "no Dockerfile of that name": (
        ("build", "-f", "{tmp}/Other", "{tmp}"), 1,
        "error: no Dockerfile: {tmp}/Other\nhint: -f is a path from where you are, not from the context\n",
    ),
    "registry away, pull": (
        ("pull", "127.0.0.1:1/a"), 1,
        f"error: 127.0.0.1:1/a:latest: cannot reach 127.0.0.1:1: connection refused\n{AWAY}\n",
    ),
    "no such image": (
        ("push", "nothing"), 1,
        "error: no such image: nothing\nhint: 'pybuild images' lists what is here; 'pybuild pull' fetches\n",
    ),
    "no such archive": (("load", "-i", "{tmp}/none"), 1, None),
    "no such compression": (
        ("build", "--compression", "lzma", "{tmp}"), 2,
        "error: no such compression: 'lzma'\nhint: there are gzip, zstd, none\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", USAGE)
def test_before_anything_is_built(name, pybuild, tmp_path):
    arguments, code, expected = USAGE[name]
    if code == 2:
        (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    done = pybuild(*(part.format(tmp=tmp_path) for part in arguments), code=code)
    if expected is not None:
        assert done.err == expected.format(tmp=tmp_path)
    assert 1 <= done.err.count("\n") <= 2


DOCKERFILES = {
    "no such source": (
        "FROM scratch\nCOPY missing /\n", {}, 1,
        "{tmp}/context/Dockerfile:2:1: missing: not found in the context\n    COPY missing /\n    ~~~~~~~~~~~~~~\nhint: the top has: Dockerfile\n",
    ),
    "ignored source": (
        "FROM scratch\nCOPY secret /\n", {"_dot_dockerignore": "secret\n", "secret": "x"}, 1,
        "{tmp}/context/Dockerfile:2:1: secret: excluded from the context by .dockerignore:1 (secret)\n"
        "    COPY secret /\n    ~~~~~~~~~~~~~\nhint: add '!secret' behind that line\n",
    ),
    "registry of the base away": (
        "FROM 127.0.0.1:1/a\n", {}, 1,
        f"127.0.0.1:1/a:latest: cannot reach 127.0.0.1:1: connection refused\n{AWAY}\n",
    ),
    "an archive that reaches out": (
        "FROM scratch\nADD a.tar /\n", {"a_dot_tar": archive(("../../x", tarfile.REGTYPE, ""))}, 1,
        "{tmp}/context/Dockerfile:2:1: {tmp}/context/a.tar: '../../x': the name leaves the archive's root\n"
        "    ADD a.tar /\n    ~~~~~~~~~~~\nhint: the archive is not to be trusted\n",
    ),
    "an archive whose hard link reaches out": (
        "FROM scratch\nADD a.tar /\n", {"a_dot_tar": archive(("a", tarfile.LNKTYPE, "../../etc/passwd"))}, 1,
        "{tmp}/context/Dockerfile:2:1: {tmp}/context/a.tar: '../../etc/passwd': the name leaves the archive's root\n"
        "    ADD a.tar /\n    ~~~~~~~~~~~\nhint: the archive is not to be trusted\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_build_that_cannot_be_done(name, pybuild, context, tmp_path):
    dockerfile, files, code, expected = DOCKERFILES[name]
    done = pybuild("build", "-t", "x", context(dockerfile, **files), code=code)
    assert done.err[done.err.index("error: ") :] == "error: " + expected.format(tmp=tmp_path)
    assert pybuild("images", "-q").out == ""


@pytest.mark.peers("docker-registry")
def test_no_such_base(pybuild, context, registry):
    name = registry.name("no/such:1")
    done = pybuild("build", context(f"FROM {name}\n"), code=1)
    assert done.err.startswith(f"error: {name}: ")
    assert "hint: " in done.err


@pytest.mark.peers("docker-registry")
def test_a_wrong_password(pybuild, context, htpasswd_registry):
    name = htpasswd_registry.name("a:1")
    pybuild("build", "-q", "-t", name, context("FROM scratch\nCOPY a /\n", a="x"))
    config = Path(os.environ["DOCKER_CONFIG"])
    config.mkdir(exist_ok=True)

    def log_in(password: str) -> None:
        auth = base64.b64encode(f"alice:{password}".encode()).decode()
        (config / "config.json").write_text(json.dumps({"auths": {htpasswd_registry.host: {"auth": auth}}}))

    for attempt in (lambda: None, lambda: log_in("guess")):
        attempt()
        done = pybuild("push", name, code=1)
        assert re.search(rf"error: .*{re.escape(htpasswd_registry.host)}.*\nhint: .*log ?in", done.err), done.err
    log_in("secret")
    pybuild("push", name)


@pytest.mark.peers("docker-registry")
def test_a_layer_that_was_damaged_in_the_registry(pybuild, context, tmp_path, registry):
    name = registry.name("damaged:1")
    pybuild("build", "-q", "-t", name, "--push", context("FROM scratch\nCOPY a /\n", a=os.urandom(5000)))
    (layer,) = json.loads(pybuild("inspect", "-f", "{{json .RootFS.Layers}}", name).out)
    assert layer
    manifest = json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
    digest = manifest["layers"][0]["digest"].removeprefix("sha256:")
    (blob,) = registry.folder.glob(f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data")
    content = bytearray(blob.read_bytes())
    content[100] ^= 1
    blob.write_bytes(content)
    done = pybuild("--root", tmp_path / "other", "pull", name, code=1)
    assert f"expected sha256:{digest}" in done.err
    assert done.err.endswith("hint: the content was damaged or changed on the way; nothing of it was kept\n")
    assert pybuild("--root", tmp_path / "other", "images", "-q").out == ""


def foreign(layout: Path, folder: Path, *, layer: bytes | None = None, media_type: str | None = None) -> Path:
    """The image of umoci's, with another layer on top or another media type of its manifest."""
    from checker.test_checker import Layout

    made = Layout(folder)
    item = made.image(*([layer] if layer is not None else []))
    if media_type is not None:
        made.index(item | {"mediaType": media_type})
    return folder


def test_a_manifest_of_an_unknown_kind(pybuild, context, foreign_layout, tmp_path):
    layout = foreign(foreign_layout, tmp_path / "layout", media_type="application/vnd.example.manifest+json")
    index = json.loads((layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    raw = json.loads((layout / "blobs/sha256" / digest).read_text()) | {"mediaType": "application/vnd.example.manifest+json"}
    from checker.test_checker import Layout

    made = Layout(tmp_path / "unknown")
    for path in (layout / "blobs/sha256").iterdir():
        shutil.copy(path, tmp_path / "unknown/blobs/sha256")
    made.index(made.add(raw, "application/vnd.example.manifest+json"))
    done = pybuild("build", "--build-context", f"base=oci-layout://{tmp_path}/unknown", context("FROM base\n"), code=1)
    assert "application/vnd.example.manifest+json" in done.err
    assert done.err.count("\n") <= 2


HOSTILE = {
    "a name": archive(("../../escaped", tarfile.REGTYPE, "")),
    "a hard link": archive(("passwd", tarfile.LNKTYPE, "../../../../../../etc/passwd")),
    "behind a link": archive(("l", tarfile.SYMTYPE, "../../../../../../../tmp"), ("l/../../escaped", tarfile.REGTYPE, "")),
}


@pytest.mark.root
@pytest.mark.parametrize("name", HOSTILE)
def test_a_base_whose_layer_reaches_out_of_its_root(name, pybuild, context, foreign_layout, tmp_path):
    layout = foreign(foreign_layout, tmp_path / "layout", layer=HOSTILE[name])
    dockerfile = 'FROM base\nRUN ["/bin/true"]\n'
    done = pybuild("build", "--build-context", f"base=oci-layout://{layout}", context(dockerfile), code=1)
    assert re.search(r"error: .*(root|leaves)", done.err), done.err
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.root
def test_a_link_in_a_base_is_followed_inside_of_its_root(pybuild, context, foreign_layout, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    layer = archive(
        (str(outside)[1:], tarfile.DIRTYPE, ""), ("l", tarfile.SYMTYPE, str(outside)), ("l/inside", tarfile.REGTYPE, "")
    )
    layout = foreign(foreign_layout, tmp_path / "layout", layer=layer)
    folder = context(
        'FROM base\nCOPY busybox /l/\nRUN ["/l/busybox", "true"]\n', busybox=Path(shutil.which("busybox") or "").read_bytes()
    )
    (folder / "busybox").chmod(0o755)
    pybuild("build", "-o", tmp_path / "out", "--build-context", f"base=oci-layout://{layout}", folder)
    assert not list(outside.iterdir())
    assert (tmp_path / "out" / str(outside)[1:] / "busybox").exists()


@pytest.mark.root
@pytest.mark.peers("umoci")
def test_a_full_disk(pybuild, context, foreign_layout, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=8m", "none", disk)
    try:
        store = disk / "store"
        base = ("--build-context", f"base=oci-layout://{foreign_layout}:{TAG}")
        done = pybuild("--root", store, "build", context("FROM scratch\nCOPY a /\n", a=os.urandom(16 << 20)), code=1)
        assert f"cannot write to {store}: No space left on device" in done.err
        assert done.err.endswith("hint: free some space, or set PYBUILD_ROOT to another disk\n")
        assert not list((store / "tmp").iterdir())
        check_layout(store)
        done = pybuild("--root", store, "build", *base, context("FROM base\nRUN dd if=/dev/zero of=/a bs=1M count=20\n"), code=1)
        assert "No space left on device" in done.err
        check_layout(store)
        pybuild("--root", store, "build", *base, context("FROM base\nRUN echo fits > /a\n"))
        check_layout(store)
        assert not list((store / "tmp").iterdir())
    finally:
        run("umount", disk)


class Running:
    """A command at work, to be interrupted."""

    def __init__(self, root: Path, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--root", str(root), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, text: str) -> None:
        """Until a line of its progress has this text."""
        for line in self.process.stderr:
            if text in line:
                return
        pytest.fail(f"it ended without {text!r}")

    def wait_until(self, claim) -> None:
        """Until something is true."""
        while not claim():
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.002)

    def interrupt(self, number: int = signal.SIGINT) -> str:
        """Send the signal; what was said afterwards. It has to end within seconds."""
        start = time.monotonic()
        self.process.send_signal(number)
        _, error = self.process.communicate(timeout=20)
        assert time.monotonic() - start < 5
        assert self.process.returncode == 130
        assert "Traceback" not in error
        assert [line for line in error.splitlines() if line.startswith("error: ")] == ["error: interrupted"]
        return error


def opens(process: subprocess.Popen[str], path: Path) -> bool:
    """Whether a process has a file open."""
    with contextlib.suppress(OSError):
        return str(path) in {os.readlink(item) for item in Path(f"/proc/{process.pid}/fd").iterdir()}
    return False


@pytest.fixture
def large(context) -> Path:
    """A context that takes seconds to read, and longer to pack."""
    folder = context("FROM scratch\nCOPY large /\n", large="")
    os.truncate(folder / "large", 1 << 30)
    return folder


@pytest.mark.slow
def test_ctrl_c_while_the_context_is_read(root, large):
    running = Running(root, "build", large)
    running.wait_until(lambda: opens(running.process, large / "large"))
    running.interrupt()


@pytest.mark.slow
def test_ctrl_c_while_a_layer_is_packed(root, large, pybuild):
    running = Running(root, "build", large)
    running.wait_for("COPY large")
    running.wait_until(lambda: any((root / "tmp").iterdir()))
    running.interrupt()
    assert list((root / "blobs/sha256").iterdir()) == []
    (large / "large").write_text("small")
    pybuild("build", large)


@pytest.mark.root
@pytest.mark.peers("umoci")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_in_a_step(number, root, context, foreign_layout, pybuild):
    base = ("--build-context", f"base=oci-layout://{foreign_layout}:{TAG}")
    folder = context(
        f"FROM base\nRUN echo first > /first\nRUN trap '' INT TERM; (sleep {FOREVER} &); echo is\"\" at work; sleep {FOREVER}\n"
    )
    running = Running(root, "build", *base, folder)
    running.wait_for(" is at work")
    error = running.interrupt(number)
    assert error.endswith("hint: what was finished is kept: the next build goes on from there\n")
    (folder / "Dockerfile").write_text("FROM base\nRUN echo first > /first\nRUN cat /first\n")
    assert "CACHED" in pybuild("build", *base, folder).err


@pytest.mark.root
@pytest.mark.peers("umoci")
def test_kill_9_in_a_step_leaves_nothing(root, context, foreign_layout, pybuild):
    base = ("--build-context", f"base=oci-layout://{foreign_layout}:{TAG}")
    folder = context(f'FROM base\nRUN echo is"" at work; sleep {FOREVER}\n')
    running = Running(root, "build", *base, folder)
    running.wait_for(" is at work")
    running.process.kill()
    running.process.communicate()
    end = time.monotonic() + 5
    while FOREVER in processes():
        assert time.monotonic() < end
        time.sleep(0.01)
    (folder / "Dockerfile").write_text("FROM base\nRUN echo again > /a\n")
    pybuild("build", "-t", "again", *base, folder)
    check_layout(root)


@pytest.fixture
def silent():
    """A server that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("command", ["pull", "push", "build"])
def test_ctrl_c_while_a_registry_is_waited_for(command, root, context, silent, pybuild):
    name = f"127.0.0.1:{silent.getsockname()[1]}/a:1"
    argument = name
    if command == "push":
        pybuild("build", "-q", "-t", name, context("FROM scratch\nCOPY a /\n", a="x"))
    if command == "build":
        argument = context(f"FROM {name}\n")
    running = Running(root, command, argument)
    connection, _ = silent.accept()
    with connection:
        assert connection.recv(1)
        running.interrupt()


@pytest.mark.root
@pytest.mark.peers("umoci")
def test_ctrl_c_ends_what_is_run(root, context, foreign_layout, pybuild):
    base = ("--build-context", f"base=oci-layout://{foreign_layout}:{TAG}")
    pybuild(
        "build", "-t", "x", *base, context("FROM base\nCMD trap 'echo told; exit 7' INT; echo up; while :; do sleep 0.01; done\n")
    )
    process = subprocess.Popen([*COMMAND, "--root", str(root), "run", "--rm", "x"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "told\n"
    assert process.returncode == 7


@pytest.mark.root
@pytest.mark.peers("umoci")
def test_several_builds_at_once_on_one_store(root, context, foreign_layout, pybuild):
    base = ("--build-context", f"base=oci-layout://{foreign_layout}:{TAG}")
    folder = context("FROM base\nCOPY a /a\nRUN sleep 0.2; cat /a > /b\nRUN echo >> /b\n", a=os.urandom(100_000).hex())
    (folder / "Other").write_text("FROM base\nCOPY a /a\nRUN rm /a\n")
    same = [Running(root, "build", "-q", "-t", f"same:{number}", *base, folder) for number in range(3)]
    other = Running(root, "build", "-q", "-t", "other", "-f", folder / "Other", *base, folder)
    ids = set()
    for running in (*same, other):
        out, error = running.process.communicate(timeout=60)
        assert running.process.returncode == 0, error
        ids.add(out.strip())
    assert len(ids) == 2
    names = set(pybuild("images", "--format", "{{.Repository}}:{{.Tag}}").out.split())
    assert names == {"same:0", "same:1", "same:2", "other:latest"}
    assert pybuild("run", "same:2", "wc", "-c", "/b").out.split()[0] == "200001"


def test_a_step_that_is_not_there_yet_names_its_line(pybuild, context, tmp_path):
    done = pybuild("build", context("FROM scratch\n\nRUN --device=vendor.com/x=y true\n"), code=2)
    assert done.err.startswith(f"error: {tmp_path}/context/Dockerfile:3:1: ")
    assert "RUN --device" in done.err.splitlines()[0]
