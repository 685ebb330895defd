"""What is in the layer of a RUN: the changes, and nothing else; read by umoci too."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from pybuild.builder.layers.extraction import index
from pybuild.registry import Store

pytestmark = [pytest.mark.root, pytest.mark.peers("umoci")]


def names(root: Path, image: str) -> list[str]:
    """What the topmost layer has, in order."""
    store = Store.open(root)
    with tarfile.open(store.path(store.find(image).manifest.layers[-1].digest)) as archive:
        return archive.getnames()


def unpacked(root: Path, image: str, bundle: Path) -> set[str]:
    command = ["umoci", "unpack", "--image", f"{root}:docker.io/library/{image}:latest", str(bundle)]
    subprocess.run(command, check=True, capture_output=True)
    top = bundle / "rootfs"
    return {
        os.path.relpath(os.path.join(where, name), top) for where, folders, files in os.walk(top) for name in (*folders, *files)
    }


@pytest.fixture
def build(pybuild, ubuntu, context):
    def run(*instructions: str, name: str = "layers") -> None:
        folder = context("\n".join(("FROM ubuntu", *instructions, "")))
        pybuild("build", "-t", name, "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)

    return run


def test_a_file_of_the_base_that_was_only_opened_is_not_in_it(build, root):
    build("RUN : >> /etc/passwd && echo new > /new")
    assert names(root, "layers") == ["new"]


def test_a_directory_made_anew_hides_what_it_had(build, root, tmp_path):
    build(
        "RUN mkdir -p /d/sub /e && touch /d/old /d/sub/old /e/one /e/two",
        "RUN rm -r /d && mkdir /d && touch /d/new && rm /e/one && rm -r /tmp",
    )
    assert sorted(names(root, "layers")) == [".wh.tmp", "d", "d/.wh..wh..opq", "d/new", "e", "e/.wh.one"]
    found = unpacked(root, "layers", tmp_path / "bundle")
    assert {path for path in found if path.split("/")[0] in ("d", "e", "tmp")} == {"d", "d/new", "e", "e/two"}


def test_hard_links_attributes_and_devices_are_kept(build, root, tmp_path):
    build("RUN mkdir /d && echo x > /d/a && chmod 4711 /d/a && ln /d/a /d/b && mkfifo /d/pipe && mknod /d/null c 1 3")
    unpacked(root, "layers", tmp_path / "bundle")
    folder = tmp_path / "bundle" / "rootfs" / "d"
    assert (folder / "a").stat().st_ino == (folder / "b").stat().st_ino
    assert oct((folder / "a").stat().st_mode) == "0o104711"
    assert (folder / "pipe").is_fifo() and (folder / "null").is_char_device()


def test_what_a_later_step_sees_is_what_an_earlier_one_left(build, pybuild):
    build(
        "RUN mkdir -p /d/sub && touch /d/old /d/sub/old",
        "RUN rm -r /d && mkdir /d",
        "COPY Dockerfile /d/sub/Dockerfile",
        "RUN rm /d/sub/Dockerfile && ls -A /d /d/sub > /seen",
    )
    assert pybuild("run", "--rm", "layers", "cat", "/seen").out == "/d:\nsub\n\n/d/sub:\n"


def test_a_layer_that_names_no_parents_leaves_them_as_they_are_below(pybuild, ubuntu, context, root, tmp_path):
    """As jib, ko, bazel and `umoci insert` write them; the kernel alone would show /tmp as the topmost layer has it."""
    layout = tmp_path / "layout"
    shutil.copytree(ubuntu, layout)
    (tmp_path / "file").write_text("content")
    command = ["umoci", "insert", "--image", f"{layout}:latest", str(tmp_path / "file"), "/tmp/sub/file"]
    subprocess.run(command, check=True, capture_output=True)
    folder = context("FROM ubuntu\nRUN stat -c %a /tmp > /seen && : > /tmp/own\n")
    pybuild("build", "-t", "layers", "--build-context", f"ubuntu=oci-layout://{layout}", folder)
    assert (
        pybuild("run", "--rm", "layers", "sh", "-c", "cat /seen /tmp/sub/file; stat -c %a /tmp /tmp/sub").out
        == "1777\ncontent1777\n755\n"
    )
    # umoci leaves out the end of its archives, and tarfile minds.
    store = Store.open(root)
    image = store.find("layers")
    entries = index(image.manifest.layers[1], store, image.config.diff_ids[1])
    assert [entry.path for entry in entries] == ["tmp/sub/file"]


def test_a_layer_that_is_there_twice_is_mounted_once(build, pybuild):
    """Two steps that leave the same: the kernel takes no lower directory twice."""
    steps = ("RUN touch -d @1000 /f", "RUN touch -d @2000 /f", "RUN touch -d @1000 /f")
    build(*steps)
    build(*steps, "RUN stat -c %Y /f > /seen")
    assert pybuild("run", "--rm", "layers", "cat", "/seen").out == "1000\n"


def test_empty_files_of_an_archive_are_files_of_their_own(pybuild, ubuntu, context, tmp_path):
    folder = context("FROM ubuntu\nADD files.tar /d/\nRUN stat -c '%n %h %s' /d/* > /seen\n")
    with tarfile.open(folder / "files.tar", "w") as archive:
        for name, content in (("a", b""), ("b", b""), ("c", b"content"), ("d", b""), ("e", b"more")):
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
        link = tarfile.TarInfo("f")
        link.type, link.linkname = tarfile.LNKTYPE, "d"
        archive.addfile(link)
    pybuild("build", "-t", "layers", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)
    seen = pybuild("run", "--rm", "layers", "cat", "/seen").out
    assert seen.splitlines() == ["/d/a 1 0", "/d/b 1 0", "/d/c 1 7", "/d/d 2 0", "/d/e 1 4", "/d/f 2 0"]
