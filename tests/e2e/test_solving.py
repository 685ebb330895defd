"""What the solver promises: nothing twice, a failure ends all, what is only read stays unpacked, and threads change no digest."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time

import pytest
from real.command import COMMAND
from real.ordinary_user import UID, run_as_user

from pybuild.registry import Store

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.peers("umoci", "newuidmap")]
SAME = "RUN sleep 0.3; cat /proc/sys/kernel/random/uuid > /id"


@pytest.fixture
def base(ubuntu):
    return ("--build-context", f"ubuntu=oci-layout://{ubuntu}")


@pytest.fixture
def events(pybuild, base):
    def build(folder, *arguments, code=0):
        done = pybuild("build", "--progress", "json", *base, *arguments, folder, code=code)
        return [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]

    return build


def content(root, *names: str) -> dict[str, bytes]:
    store, found = Store.open(root), {}
    for layer in store.find("x").manifest.layers:
        with tarfile.open(store.path(layer.digest)) as archive:
            found |= {item.name: archive.extractfile(item).read() for item in archive if item.name in names}
    return found


@pytest.mark.parametrize("options", [(), ("--no-cache",)])
def test_identical_steps_of_one_build_run_once(events, context, root, options):
    stages = "".join(f"FROM ubuntu AS {name}\n{SAME}\n" for name in "abc")
    folder = context(stages + "FROM a\n" + "".join(f"COPY --from={name} /id /{name}\n" for name in "abc"))
    found = events(folder, "-t", "x", *options)
    names = {event["step"]: event["name"] for event in found if event["event"] == "StepStarted"}
    ran = [event for event in found if event["event"] == "Worked" and event["action"] == "make" and names[event["step"]] == SAME]
    assert len(ran) == 1
    assert len(set(content(root, "a", "b", "c", "id").values())) == 1


def test_identical_steps_of_builds_at_the_same_time_run_once(base, context, root, tmp_path):
    """The steps beside it are others, so each build has to wait for the step alone and not for the other's end."""
    commands = []
    for number in range(3):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "Dockerfile").write_text(f"FROM ubuntu\n{SAME}\nRUN echo {number} > /number\n")
        commands.append([*COMMAND, "--root", str(root), "build", "--progress", "json", "-t", f"x{number}", *base, str(place)])
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    lines = [json.loads(line) for text in said for line in text.splitlines() if line.startswith("{")]
    makings = [line for line in lines if line["event"] == "Worked" and line["action"] == "make" and line["step"] == 1]
    assert len(makings) == 1
    layers = {Store.open(root).find(f"x{number}").manifest.layers[1].digest for number in range(3)}
    assert len(layers) == 1


def test_a_failure_ends_the_others_and_comes_last(pybuild, base, context, root):
    """Of two that fail, and one that would go on for ever and heeds no signal, the first is what the user reads at the end."""
    folder = context(
        "FROM ubuntu AS slow\nRUN trap '' TERM INT; while :; do sleep 31.0625; done\n"
        "FROM ubuntu AS second\nRUN --mount=type=cache,target=/met until [ -e /met/failing ]; do sleep .02; done; sleep .5; exit 3\n"
        "FROM ubuntu\nRUN --mount=type=cache,target=/met echo last words >&2; touch /met/failing; exit 42\n"
        "COPY --from=slow /x /x\nCOPY --from=second /x /x\n"
    )
    start = time.monotonic()
    done = pybuild("build", "--progress", "plain", *base, folder, code=42)
    assert time.monotonic() - start < 60
    before, _, end = done.err.rpartition("\n\nDockerfile:6:1: " if "\n\nDockerfile:6:1: " in done.err else "\n\nerror: ")
    assert "CANCELED" in before and before.endswith("last words"), done.err
    assert "exit code 42" in end and "exit code 3:" not in end and "CANCELED" not in end
    processes = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 31.0625" not in processes
    assert str(root) not in open("/proc/self/mounts").read()
    assert not os.listdir(root / "tmp") and not [name for name in os.listdir(root / "locks") if name.startswith("step-")]


def test_stages_that_are_only_read_are_never_compressed(events, context, root):
    folder = context(
        "FROM ubuntu AS below\nCOPY big /big\nFROM below AS made\nRUN cp /big /copied; echo x > /x\nWORKDIR /w\n"
        "FROM ubuntu\nCOPY --from=made /x /x\nRUN --mount=from=made,target=/made cat /made/x > /y\n",
        big=os.urandom(2_000_000),
    )
    found = events(folder, "-t", "x")
    names = {event["step"]: event["name"] for event in found if event["event"] == "StepStarted"}
    packed = {names[event["step"]] for event in found if event["event"] == "Worked" and event["action"] == "pack"}
    assert packed == {"COPY --from=made /x /x", "RUN --mount=from=made,target=/made cat /made/x > /y"}
    assert all(path.stat().st_size < 2_000_000 for path in (root / "blobs/sha256").iterdir())


@pytest.mark.parametrize("compression", ["gzip", "zstd", "zstd:9", "none"])
def test_the_digest_is_the_same_on_any_number_of_threads_and_whoever_builds(
    pybuild, ubuntu, context, tmp_path, home, compression
):
    folder = context(
        "FROM ubuntu AS made\nCOPY big /big\nRUN cat /big /big > /twice\nFROM ubuntu\nCOPY d /d\n"
        "COPY --from=made --chown=7:8 /twice /\nRUN cp /twice /thrice; rm -r /tmp; chown 33:33 /d\nWORKDIR /w\n",
        big=os.urandom(1_500_000) + bytes(3_000_000) + b"text " * 300_000,
        d__one="1",
        d__two="2",
    )
    options = ("--compression", compression, "--timestamp", 10**9, "--iidfile")
    subprocess.run(["cp", "-a", ubuntu, home / "ubuntu"], check=True)
    subprocess.run(["cp", "-a", folder, home / "context"], check=True)
    subprocess.run(["chown", "-R", str(UID), home / "ubuntu", home / "context"], check=True)
    found = []
    for number, (jobs, prefix) in enumerate(((1, ("taskset", "-c", "0")), (8, ()), (2, ("chrt", "--idle", "0")))):
        root, out = tmp_path / f"store{number}", tmp_path / f"id{number}"
        context_ = ("--build-context", f"ubuntu=oci-layout://{ubuntu}")
        command = [*prefix, *COMMAND, "--root", root, "build", "-q", "--jobs", jobs, "-t", "x", *context_, *options, out, folder]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        found.append((out.read_text(), Store.open(root).find("x").manifest.descriptor.digest))
    context_ = ("--build-context", f"ubuntu=oci-layout://{home}/ubuntu")
    done = run_as_user(
        home, *COMMAND, "--root", home / "store", "build", "-q", "-t", "x", *context_, *options, home / "id", home / "context"
    )
    assert done.returncode == 0, done.stdout
    found.append(((home / "id").read_text(), Store.open(home / "store").find("x").manifest.descriptor.digest))
    assert len(set(found)) == 1, found
