"""Equal inputs give equal digests, and a build that does not is told which file of which step differs."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from pybuild.registry import Store

pytestmark = [pytest.mark.root, pytest.mark.peers("umoci"), pytest.mark.slow]
EPOCH = 1_000_000_000


@pytest.fixture
def build(pybuild, ubuntu):
    def run(folder, *arguments, code=0):
        return pybuild("build", "-t", "x", "--build-context", f"ubuntu=oci-layout://{ubuntu}", *arguments, folder, code=code)

    return run


def test_an_image_that_comes_out_twice_gets_its_name(build, context, root):
    folder = context(
        "FROM ubuntu AS a\nRUN echo 1 > /one; date > /dev/null\nFROM ubuntu\nCOPY a d/\nCOPY --from=a /one /\nRUN rm -r /tmp; touch /etc; mkdir -p /x/y\nWORKDIR /w\n",
        a="A",
        b="B",
    )
    done = build(folder, "--verify-reproducible", "--timestamp", EPOCH)
    assert "built x:latest" in done.err and done.err.endswith("s, twice, and it was the same both times\n")
    digest = Store.open(root).find("x").descriptor.digest
    build(folder, "--timestamp", EPOCH, "--jobs", 1)
    assert Store.open(root).find("x").descriptor.digest == digest
    assert not os.listdir(root / "tmp")


def test_what_a_copy_brings_along_is_told_by_the_step_that_made_it(build, context):
    folder = context(
        "FROM ubuntu AS made\nRUN echo fixed > /fixed\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN echo last > /last\n"
        "FROM ubuntu AS taken\nCOPY --from=made /id /taken/id\n"
        "FROM ubuntu\nCOPY --from=made /fixed /\nCOPY --from=taken /taken /taken\n"
    )
    lines = build(folder, "--verify-reproducible", "--timestamp", EPOCH, code=1).err.splitlines()
    start = lines.index("  layer 3, of COPY /taken /taken:")
    assert lines[start + 1] == "      out of [made 3/4] RUN cat /proc/sys/kernel/random/uuid > /id, which made other files"
    assert lines[start + 2].startswith("      /taken/id: content differs")


def test_what_differs_is_told_by_file_and_step(build, context, root, pybuild):
    folder = context(
        "FROM ubuntu\nRUN echo fixed > /fixed\nRUN mkdir /out; date +%s%N > /out/built.log; echo same > /out/same; "
        "n=$(cat /proc/sys/kernel/random/uuid); touch /out/$n; chmod 6$(( $(date +%s) % 2 ))5 /out/same\n"
    )
    done = build(folder, "--verify-reproducible", code=1)
    lines = done.err.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("error: "))
    assert "warning: no --timestamp was given: both builds take" in done.err
    assert lines[start] == "error: two builds of the same gave different images:"
    assert lines[start + 1].startswith("  layer 3, of RUN /bin/sh -c mkdir /out; date +%s%N > /out/built.log;")
    assert any("/out/built.log: content differs from byte " in line for line in lines)
    assert "          a log, most likely with times: remove it in the same RUN" in lines
    assert (
        sum("is in the first build alone" in line for line in lines)
        == sum("is in the second build alone" in line for line in lines)
        == 1
    )
    assert lines[-1].startswith("hint: what a RUN writes must not depend on the time")
    assert pybuild("images", "-q").out == ""


def test_the_order_in_which_a_folder_is_listed_shows(build, context, root):
    folder = context("FROM ubuntu\nCOPY d /d\nRUN find /d -type f > /list\n", **{f"d__{n}": str(n) for n in range(30)})
    done = build(folder, "--verify-reproducible", "--timestamp", EPOCH)
    assert "built x:latest" in done.err, "layers are sorted, so even what a RUN sees of them is"


@pytest.mark.parametrize("how", ["option", "environment", "argument"])
def test_every_time_in_new_layers_is_clamped_and_the_base_is_as_it_was(build, context, root, ubuntu, how, monkeypatch):
    folder = context(
        "FROM ubuntu\nARG SOURCE_DATE_EPOCH\nCOPY a /deep/er/a\nCOPY old /old\nRUN echo x > /etc/new; rm /etc/group; rm -r /tmp; mkdir /tmp; ln -s a /link\nWORKDIR /w/x\n",
        a="A",
        old="O",
    )
    os.utime(folder / "old", (EPOCH - 5, EPOCH - 5))
    arguments = {"option": ("--timestamp", EPOCH), "argument": ("--build-arg", f"SOURCE_DATE_EPOCH={EPOCH}")}.get(how, ())
    if how == "environment":
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    build(folder, *arguments)
    store = Store.open(root)
    image = store.find("x")
    base, *own = image.manifest.layers
    assert (Path(ubuntu) / "blobs" / "sha256" / base.digest.hex).exists(), "the base's layer is the base's"
    times = {}
    for layer in own:
        with tarfile.open(store.path(layer.digest)) as archive:
            times |= {item.name: item.mtime for item in archive}
    assert times["old"] == EPOCH - 5
    assert {name for name in times if ".wh." in name} == {"etc/.wh.group", "tmp/.wh..wh..opq"}
    assert max(times.values()) == EPOCH
    assert image.config.created == "2001-09-09T01:46:40Z"
    assert {entry.created for entry in image.config.history[-4:]} == {"2001-09-09T01:46:40Z"}
