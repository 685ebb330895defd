"""What the planner says, built: triggers of images, build contexts in the place of images and stages, platforms, the epoch."""

from __future__ import annotations

import json

import pytest
from real.foreign import TAG

pytestmark = [pytest.mark.peers("umoci")]


@pytest.fixture
def config(pybuild):
    """The config of an image in this test's store."""

    def read(name):
        return json.loads(pybuild("inspect", "-f", "{{json .}}", name).out)

    return read


def history(pybuild, name):
    rows = pybuild("history", "--no-trunc", "--format", "{{.CreatedBy}}", name).out.splitlines()
    return list(reversed(rows))


def test_triggers_of_an_image_fire_once_and_in_order(pybuild, context, config, tmp_path):
    base = context('FROM scratch\nENV D=/deep\nONBUILD ARG V=1\nONBUILD COPY a $D/a\nONBUILD LABEL v=$V\nCMD ["x"]\n', a="A")
    pybuild("build", "-t", "base", "-o", f"type=oci,dest={tmp_path}/base,tar=false", base)
    assert config("base")["Config"]["OnBuild"] == ["ARG V=1", "COPY a $D/a", "LABEL v=$V"]
    assert history(pybuild, "base") == ["ENV D=/deep", 'CMD ["x"]']
    folder = context("FROM base AS one\nLABEL after=yes\nFROM one\n", a="B")
    contexts = ("--build-context", f"base=oci-layout://{tmp_path}/base")
    pybuild("build", "-t", "app", "--build-arg", "V=2", *contexts, "-o", tmp_path / "out", folder)
    assert (tmp_path / "out/deep/a").read_text() == "B"
    found = config("app")["Config"]
    assert "OnBuild" not in found
    assert found["Labels"] == {"v": "2", "after": "yes"}
    assert history(pybuild, "app")[2:] == ["ARG V=2", "COPY a /deep/a", "LABEL v=2", "LABEL after=yes"]


def test_an_error_in_a_trigger_names_it_its_base_and_the_line(pybuild, context, tmp_path):
    pybuild("build", "-t", "base", "-o", f"type=oci,dest={tmp_path}/bad,tar=false", context("FROM scratch\nONBUILD EXPOSE x\n"))
    folder = context("FROM base\nSTOPSIGNAL nothing\n")
    done = pybuild("build", "--build-context", f"base=oci-layout://{tmp_path}/bad", folder, code=2)
    assert "ONBUILD of base:1:8: not a port: 'x' (a trigger, set off by " in done.err
    assert "Dockerfile:2:12: no such signal: 'nothing'" in done.err
    assert done.err.endswith("2 errors\n")


@pytest.mark.peers("skopeo", "docker-registry")
def test_a_context_may_be_an_image_of_a_registry(pybuild, context, config, foreign_base, tmp_path):
    folder = context(
        "FROM nowhere.example/there AS x\nFROM scratch\nCOPY --from=x /etc/passwd /\nCOPY --from=tools /etc/group /\n"
    )
    contexts = [f"{name}=docker-image://{foreign_base}" for name in ("nowhere.example/there", "tools")]
    pybuild("build", *(part for item in contexts for part in ("--build-context", item)), "-o", tmp_path / "out", folder)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"passwd", "group"}


def test_a_folder_takes_the_place_of_a_stage_and_of_a_base(pybuild, context, config, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("tree")
    folder = context("FROM nowhere.example/x AS tree\nRUN false\nFROM tree\nCOPY a /a\n", a="A")
    pybuild("build", "-t", "x", "--build-context", f"tree={tmp_path / 'tree'}", "-o", tmp_path / "out", folder)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"file", "a"}
    (folder / "Dockerfile").write_text("FROM base\n")
    pybuild("build", "-t", "y", "--build-context", f"base={tmp_path / 'tree'}", "-o", tmp_path / "out2", folder)
    assert [path.name for path in (tmp_path / "out2").iterdir()] == ["file"]


def test_the_image_is_for_the_platform_that_was_asked_for(pybuild, context, config, foreign_layout):
    contexts = ("--build-context", f"base=oci-layout://{foreign_layout}:{TAG}")
    folder = context(
        "FROM --platform=$BUILDPLATFORM base AS build\nFROM scratch\nARG TARGETPLATFORM\n"
        "COPY --from=build /etc/passwd /x\nLABEL p=$TARGETPLATFORM\n"
    )
    pybuild("build", "-t", "x", "--platform", "arm64", *contexts, folder)
    found = config("x")
    assert (found["Os"], found["Architecture"], found["Config"]["Labels"]) == ("linux", "arm64", {"p": "linux/arm64"})


def test_the_epoch_as_an_argument_takes_the_place_of_the_clock(pybuild, context, config):
    folder = context("FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY a /a\nLABEL e=$SOURCE_DATE_EPOCH\n", a="A")
    ids = set()
    for _ in range(2):
        pybuild("build", "-t", "x", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", folder)
        ids.add(config("x")["Id"])
    assert len(ids) == 1
    assert config("x")["Created"] == "2023-11-14T22:13:20Z"
    assert config("x")["Config"]["Labels"] == {"e": "1700000000"}
    pybuild("build", "--build-arg", "SOURCE_DATE_EPOCH=now", folder, code=2)
