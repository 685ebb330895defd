"""The main job on real input: the tour's image from Dockerfile to registry and back, read and run by tools of others."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from real.command import COMMAND

from pybuild.registry import Store

pytestmark = [pytest.mark.peers, pytest.mark.root]
TOUR = Path(__file__).resolve().parents[2] / "fixtures" / "httpserver"


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def unpacked(root: Path, name: str, folder: Path) -> Path:
    """The image's file system, as umoci understands it."""
    run("umoci", "unpack", "--image", f"{root}:{name}", folder)
    return folder / "rootfs"


def listing(folder: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(top, name)
            status = path.lstat()
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(folder))] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


def test_the_tour(pybuild, root, registry, ubuntu, tmp_path):
    name = registry.name("cncamp/httpserver:v1.0")
    pybuild("build", "-t", name, "--build-context", f"ubuntu=oci-layout://{ubuntu}", TOUR)
    pushed = pybuild("push", name).out
    digest = pushed.split("digest: ")[1].split()[0]
    seen = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
    assert seen["Digest"] == digest
    assert "MY_SERVICE_PORT=80" in seen["Env"]
    config = json.loads(run("skopeo", "inspect", "--tls-verify=false", "--config", f"docker://{name}"))["config"]
    assert config["Entrypoint"] == ["/bin/sh", "-c", "/httpserver"]
    tree = unpacked(root, name, tmp_path / "bundle")
    assert (tree / "httpserver").read_bytes() == (TOUR / "bin/amd64/httpserver").read_bytes()
    assert (tree / "httpserver").stat().st_mode & 0o777 == (TOUR / "bin/amd64/httpserver").stat().st_mode & 0o777
    other = tmp_path / "other"
    assert f"Digest: {digest}" in pybuild("--root", other, "pull", name).out
    assert Store.open(other).find(name).id == Store.open(root).find(name).id


def test_what_was_built_runs_under_runc_and_here(pybuild, root, ubuntu, context, tmp_path):
    folder = context(
        'FROM ubuntu\nRUN echo built > /made\nENV A=b\nUSER user\nWORKDIR /work\nCMD ["sh", "-c", "cat /made; echo $A; id -u; pwd"]\n'
    )
    pybuild("build", "-t", "job:1", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)
    expected = "built\nb\n1000\n/work\n"
    assert pybuild("run", "--rm", "job:1").out == expected
    bundle = tmp_path / "bundle"
    unpacked(root, "docker.io/library/job:1", bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    # The machines that run tests may have no right to raise limits.
    config["process"].pop("rlimits", None)
    (bundle / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        ["runc", "--root", str(tmp_path / "runc"), "run", "-b", str(bundle), f"pybuild-{os.getpid()}"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_umoci_sees_the_tree_that_the_steps_made(pybuild, root, ubuntu, context, tmp_path):
    folder = context(
        "FROM ubuntu\nCOPY --chown=user:extra --chmod=640 a /data/\nCOPY d /data/d/\n"
        "RUN rm -r /tmp && mkdir /tmp && echo x > /tmp/x && ln -s x /tmp/l && rm /data/d/two && chmod 4755 /bin/busybox\n"
        "RUN mv /data/d /data/moved && ln /tmp/x /tmp/hard\n",
        a="A",
        d__one="1",
        d__two="2",
    )
    pybuild("build", "-t", "job:1", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)
    tree = unpacked(root, "docker.io/library/job:1", tmp_path / "bundle")
    seen = listing(tree)
    assert seen["data/a"] == ("0o100640", 1000, 200, b"A")
    assert seen["data/moved/one"][3] == b"1"
    assert "data/d" not in seen and "data/moved/two" not in seen
    assert seen["tmp/l"][3] == "x"
    assert seen["bin/busybox"][0] == "0o104755"
    assert (tree / "tmp/hard").stat().st_ino == (tree / "tmp/x").stat().st_ino
    assert sorted(name for name in seen if name.startswith("tmp")) == ["tmp", "tmp/hard", "tmp/l", "tmp/x"]
    assert not [name for name in seen if name.split("/")[0] in ("dev", "proc", "sys") or name.startswith("etc/resolv")]
    local = tmp_path / "local"
    pybuild("build", "-o", local, "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)
    assert listing(local) == seen


def test_archives_that_docker_and_podman_load(pybuild, context, ubuntu, tmp_path, docker, short):
    folder = context("FROM ubuntu\nCOPY a /a\nRUN cat /a > /b\n", a="content")
    archive = tmp_path / "image.tar"
    pybuild(
        "build", "-t", "job:1", "-o", f"type=docker,dest={archive}", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder
    )
    saved = tmp_path / "saved.tar"
    pybuild("save", "-o", saved, "job:1")
    identity = pybuild("inspect", "-f", "{{.Id}}", "job:1").out.strip()
    for path in (archive, saved):
        storage = ("--root", tmp_path / "podman", "--runroot", short, "--storage-driver", "vfs")
        run("podman", *storage, "load", "-i", path)
        assert run("podman", *storage, "image", "inspect", "-f", "{{.Id}}", "job:1").strip() == identity.removeprefix("sha256:")
        run(*docker, "load", "-i", path)
        assert run(*docker, "image", "inspect", "-f", "{{.Id}}", "job:1").strip() == identity
        assert run(*docker, "run", "--rm", "--network", "none", "job:1", "cat", "/b") == "content"
        run(*docker, "rmi", "job:1")


def test_an_image_of_docker_s_comes_in_and_is_built_upon(pybuild, ubuntu, context, tmp_path, docker):
    run("skopeo", "copy", f"oci:{ubuntu}:latest", f"docker-archive:{tmp_path}/base.tar:theirs:1")
    run(*docker, "load", "-i", tmp_path / "base.tar")
    run(*docker, "save", "-o", tmp_path / "saved.tar", "theirs:1")
    assert "Loaded image: theirs:1" in pybuild("load", "-i", tmp_path / "saved.tar").out
    pybuild("build", "-t", "mine", context("FROM theirs:1\nRUN echo hi > /hi\nCMD cat /hi\n"))
    assert pybuild("run", "mine").out == "hi\n"


def test_an_image_that_another_tool_pushed_is_built_upon(pybuild, registry, ubuntu, context):
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{ubuntu}:latest", f"docker://{registry.name('library/base:1')}")
    name = registry.name("mine:1")
    pybuild("build", "-t", name, "--push", context(f"FROM {registry.name('library/base:1')}\nRUN echo hi > /hi\n"))
    digest = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))["Digest"]
    by_digest = context(f"FROM {registry.name('mine')}@{digest}\nCMD cat /hi\n")
    pybuild("rmi", name)
    pybuild("build", "-t", "again", by_digest)
    assert pybuild("run", "again").out == "hi\n"


def test_outputs(pybuild, context, tmp_path):
    folder = context("FROM scratch\nCOPY a /d/a\n", a="content")
    pybuild(
        "build",
        "-t",
        "out:1",
        "-o",
        f"type=oci,dest={tmp_path}/oci.tar",
        "-o",
        f"type=tar,dest={tmp_path}/fs.tar",
        "-o",
        f"type=oci,dest={tmp_path}/layout,tar=false",
        "--iidfile",
        tmp_path / "iid",
        folder,
    )
    with tarfile.open(tmp_path / "fs.tar") as found:
        assert found.getnames() == ["d", "d/a"]
        assert found.extractfile("d/a").read() == b"content"
    identity = (tmp_path / "iid").read_text()
    for source in (f"oci-archive:{tmp_path}/oci.tar", f"oci:{tmp_path}/layout"):
        assert json.loads(run("skopeo", "inspect", "--raw", source))["config"]["digest"] == identity


def test_a_build_without_run_mounts_and_extracts_nothing_and_needs_no_root(context, ubuntu, tmp_path):
    folder = context("FROM ubuntu\nCOPY a /a\nWORKDIR /w\n", a="content")
    store, layout = tmp_path / "ordinary", tmp_path / "layout"
    shutil.copytree(ubuntu, layout)
    store.mkdir()
    os.chown(store, 65534, 65534)
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(0o755)
    # The one capability is to read: Python may lie where only root can look. Nothing can be mounted or given away.
    user = (
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    )
    run(*user, *COMMAND, "--root", store, "build", "-t", "x", "--build-context", f"ubuntu=oci-layout://{layout}", folder)
    assert not os.listdir(store / "trees")
    tree = unpacked(store, "docker.io/library/x:latest", tmp_path / "bundle")
    assert (tree / "a").read_text() == "content"
    assert (tree / "w").is_dir()


def test_a_local_output_replaces_files_and_no_folders(pybuild, context, tmp_path):
    folder = context("FROM scratch\nCOPY a /d/a\n", a="new")
    out = tmp_path / "out"
    (out / "d").mkdir(parents=True)
    (out / "d/a").write_text("old")
    (out / "mine").write_text("stays")
    for _ in range(2):
        pybuild("build", "-o", out, folder)
    assert ((out / "d/a").read_text(), (out / "mine").read_text()) == ("new", "stays")
    (out / "d/a").unlink()
    (out / "d/a").mkdir()
    (out / "d/a/wanted").write_text("x")
    assert "is a folder, and a file is to be written there" in pybuild("build", "-o", out, folder, code=1).err
    assert (out / "d/a/wanted").exists()


def test_a_folder_of_the_user_s_does_not_become_a_store(pybuild, context, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("x")
    done = pybuild("--root", tmp_path / "mine", "images", code=1)
    assert "is no store: it holds file" in done.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


def test_a_working_directory_belongs_to_the_user(pybuild, ubuntu, context):
    folder = context(
        "FROM ubuntu\nUSER user\nWORKDIR /p/q\nRUN touch mine\nUSER 7:8\nWORKDIR /n\nUSER 1000\nWORKDIR /m\nUSER root\nWORKDIR /r\nCMD stat -c %u:%g /p /p/q /n /m /r\n"
    )
    pybuild("build", "-t", "job", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)
    assert pybuild("run", "job").out == "1000:100\n1000:100\n7:8\n1000:1000\n0:0\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_standard_streams(context, root, ubuntu, closed):
    folder = context("FROM ubuntu\nCOPY a /a\nRUN cat /a > /b\n", a="A")
    base = ["--build-context", f"ubuntu=oci-layout://{ubuntu}"]
    for words in (
        ["build", "-q", "-t", "x", *base, str(folder)],
        ["build", "--no-cache", *base, str(folder)],
        ["images"],
        ["run", "x", "true"],
    ):
        command = shlex.join([*COMMAND, "--root", str(root), *words])
        done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, check=False)
        assert (done.returncode, b"mistake" in done.stderr, b"Traceback" in done.stderr) == (0, False, False), done.stderr
    assert Store.open(root).find("x")
