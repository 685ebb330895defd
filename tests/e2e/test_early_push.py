"""With --push, layers go to the registry while later steps run."""

from __future__ import annotations

import json
import os
import time

import pytest
from real.faulty_registry import faulty_registry
from real.foreign import run

import pybuild
from pybuild.builder.events import LayerGrows, LayerReady
from pybuild.registry import Store
from pybuild.registry.growing import WORTHWHILE

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.peers("umoci", "docker-registry", "skopeo")]


@pytest.fixture
def events(pybuild, ubuntu):
    def build(folder, *arguments, code=0):
        base = ("--build-context", f"ubuntu=oci-layout://{ubuntu}")
        done = pybuild("build", "--progress", "json", *base, *arguments, folder, code=code)
        return [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]

    return build


def moments(found, kind, /, **fields):
    return [n for n, event in enumerate(found) if event["event"] == kind and all(event[k] == v for k, v in fields.items())]


def test_a_layer_is_uploaded_while_a_later_step_runs(events, context, registry, root):
    name = registry.name("early/one:1")
    folder = context("FROM ubuntu\nCOPY big /big\nRUN sleep 3; echo x > /x\n", big=os.urandom(3_000_000))
    found = events(folder, "-t", name, "--push")
    image = Store.open(root).find(name)
    base, first, last = (layer.digest.short for layer in image.manifest.layers)
    ran = moments(found, "StepFinished", step=2)[0]
    assert moments(found, "Transferred", name=first, action="push")[-1] < ran
    assert moments(found, "Transferred", name=base)[-1] < ran
    assert moments(found, "Transferred", name=last, action="push")
    assert not moments(found, "Transferred", name=first, action="exists"), "what went ahead is not told twice"
    said = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
    assert said["Digest"] == image.manifest.descriptor.digest


def test_what_is_there_already_is_uploaded_while_the_first_step_runs(events, context, registry, root):
    folder = context(
        "FROM ubuntu AS made\nCOPY code /code\nRUN grep -v ^# /code > /out\nFROM ubuntu\nCOPY big /big\n"
        "COPY --from=made /out /out\nARG A\nRUN sleep $A; date > /x\n",
        big=os.urandom(300_000),
        code="# one\nreal\n",
    )
    events(folder, "--build-arg", "A=0")
    (folder / "code").write_text("# two\nreal\n")
    name = registry.name(f"early/cached:{os.getpid()}")
    found = events(folder, "-t", name, "--push", "--build-arg", "A=3")
    image = Store.open(root).find(name)
    base, by_key, by_content, last = (layer.digest.short for layer in image.manifest.layers)
    ran = next(n for n, event in enumerate(found) if event["event"] == "Worked" and event["ended"] - event["started"] > 2.9)
    for layer in (base, by_key, by_content):
        assert moments(found, "Transferred", name=layer)[-1] < ran
    assert moments(found, "Transferred", name=by_key, action="push")
    assert moments(found, "Transferred", name=last)[0] > ran


def test_a_build_that_fails_leaves_no_name(events, context, registry):
    name = registry.name("early/failed:1")
    folder = context("FROM ubuntu\nCOPY big /big\nRUN sleep 1; exit 3\n", big=os.urandom(300_000))
    found = events(folder, "-t", name, "--push", code=3)
    assert moments(found, "Transferred", action="push")
    with pytest.raises(Exception, match="unknown"):
        run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}")


def test_a_registry_that_is_away_is_told_at_the_end(events, pybuild, context):
    folder = context("FROM ubuntu\nCOPY a /a\nRUN echo x > /x\n", a="A")
    found = events(folder, "-t", "127.0.0.1:1/x", "--push", code=1)
    assert len(moments(found, "StepFinished", error=None)) == 3
    assert "cannot reach 127.0.0.1:1" in pybuild("push", "127.0.0.1:1/x", code=1).err


class _Slow:
    """Progress that holds a layer that grows until a piece of it has been asked for."""

    def __init__(self, faulty):
        self.faulty, self.seen = faulty, []

    def emit(self, event):
        end = time.monotonic() + 20
        while isinstance(event, LayerGrows) and event.size > WORTHWHILE and not self.faulty.count("PATCH"):
            assert time.monotonic() < end, "nothing goes before the layer is whole"
            time.sleep(0.01)
        if isinstance(event, LayerReady):
            self.seen.append(self.faulty.count("PATCH"))


@pytest.mark.parametrize("text", ["FROM ubuntu\nCOPY big /big\n", "FROM ubuntu\nRUN head -c 30000000 /dev/urandom > /big\n"])
def test_a_large_layer_is_uploaded_while_it_is_packed(text, context, ubuntu, root):
    folder = context(text, big=os.urandom(30_000_000))
    with faulty_registry() as faulty:
        progress = _Slow(faulty)
        made = pybuild.build(
            folder,
            tags=[f"{faulty.host}/early/large:1"],
            build_contexts={"ubuntu": f"oci-layout://{ubuntu}"},
            push=True,
            progress=progress,
            root=root,
        )
        assert progress.seen[-1] >= 1
        image = Store.open(root).find(str(made.image_id))
        assert faulty.blobs[image.manifest.layers[-1].digest] and not faulty.sessions
        assert len(faulty.blobs[image.manifest.layers[-1].digest]) == image.manifest.layers[-1].size
