"""What is done once is not done again, and what changed is; side by side, interrupted, and by several builds at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from real.command import COMMAND, IMPORT, PYTHON
from real.foreign import run

from pybuild.registry import Store

pytestmark = [pytest.mark.root, pytest.mark.peers("umoci")]


@pytest.fixture
def build(pybuild, ubuntu):
    """Build with `ubuntu` from its layout; which steps ran, which did not, and the image ID."""

    def run(folder, *arguments, code=0):
        done = pybuild(
            "build", "--progress", "json", "--build-context", f"ubuntu=oci-layout://{ubuntu}", *arguments, folder, code=code
        )
        lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
        names = {line["step"]: line["name"] for line in lines if line["event"] == "StepStarted"}
        ended = [line for line in lines if line["event"] == "StepFinished" and not names[line["step"]].startswith("FROM")]
        finished = next((line["image_id"] for line in lines if line["event"] == "Finished"), None)
        ran = [names[line["step"]] for line in ended if not line["is_cached"] and not line["error"]]
        return ran, [names[line["step"]] for line in ended if line["is_cached"]], finished

    return run


def test_an_unchanged_rebuild_runs_nothing_and_is_the_same_image(build, context):
    folder = context("FROM ubuntu\nENV A=1\nCOPY a /a\nRUN echo x > /x\nLABEL b=c\n", a="A")
    ran, cached, first = build(folder)
    assert (ran, cached) == (["COPY a /a", "RUN echo x > /x"], [])
    os.utime(folder / "a", (1, 1))
    ran, cached, second = build(folder)
    assert (ran, cached) == ([], ["COPY a /a", "RUN echo x > /x"])
    assert first == second


def test_a_changed_file_reruns_what_stands_on_it(build, context):
    folder = context("FROM ubuntu\nRUN echo 1 > /one\nCOPY a /a\nRUN cat /a > /two\n", a="A")
    build(folder)
    (folder / "a").write_text("B")
    assert build(folder)[:2] == (["COPY a /a", "RUN cat /a > /two"], ["RUN echo 1 > /one"])


def test_config_alone_reruns_nothing(build, context):
    folder = context("FROM ubuntu\nRUN echo 1 > /one\nLABEL a=1\n")
    first = build(folder)[2]
    (folder / "Dockerfile").write_text("FROM ubuntu\nRUN echo 1 > /one\nLABEL a=2\n")
    ran, cached, second = build(folder)
    assert (ran, cached) == ([], ["RUN echo 1 > /one"])
    assert first != second


def test_no_cache_runs_everything_and_its_results_count(build, context, root):
    folder = context("FROM ubuntu\nRUN cat /proc/sys/kernel/random/uuid > /id\n")
    first = build(folder)[2]
    ran, _, second = build(folder, "--no-cache")
    assert ran and first != second
    assert build(folder)[2] == second
    assert len(os.listdir(root / "trees")) == 2, "the base's tree and the newest one's"


def test_equal_inputs_and_equal_times_give_equal_digests(build, context, tmp_path, ubuntu, pybuild):
    folder = context("FROM ubuntu\nCOPY a d/\nWORKDIR /w\nRUN echo x > x && mkdir y && rm -r /tmp\n", a="A")
    digests = set()
    for number in range(2):
        store = tmp_path / f"store{number}"
        os.utime(folder / "a", (number, number))
        pybuild(
            "--root", store, "build", "-t", "x", "--timestamp", "0", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder
        )
        digests.add(Store.open(store).find("x").descriptor.digest)
    assert len(digests) == 1
    image = Store.open(store).find("x")
    assert image.config.created == "1970-01-01T00:00:00Z"
    assert {entry.created for entry in image.config.history[-3:]} == {"1970-01-01T00:00:00Z"}


def test_independent_stages_run_side_by_side(build, context):
    # Each waits until the others are at work: one after the other they would wait in vain, however slow the machine is.
    wait = "while [ ! -e /met/0 -o ! -e /met/1 -o ! -e /met/2 ]; do sleep 0.02; done"
    stages = "".join(
        f"FROM ubuntu AS s{n}\nRUN --mount=type=cache,target=/met touch /met/{n}; timeout 60 sh -c '{wait}' && echo {n} > /out\n"
        for n in range(3)
    )
    folder = context(stages + "FROM scratch\n" + "".join(f"COPY --from=s{n} /out /{n}\n" for n in range(3)))
    assert len(build(folder)[0]) == 6


def test_no_more_steps_run_at_once_than_jobs_allow(pybuild, context, ubuntu):
    busy = "mkdir /met/busy || touch /met/twice; sleep 0.2; rmdir /met/busy; [ ! -e /met/twice ]"
    stages = "".join(f"FROM ubuntu AS s{n}\nRUN --mount=type=cache,target=/met : {n}; {busy}\n" for n in range(4))
    folder = context(stages + "FROM scratch\n" + "".join(f"COPY --from=s{n} /etc/passwd /{n}\n" for n in range(4)))
    pybuild("build", "--jobs", "1", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)


def test_a_stage_that_is_only_read_is_not_packed(build, context, root):
    folder = context(
        "FROM ubuntu AS big\nRUN dd if=/dev/urandom of=/junk bs=1M count=3; echo x > /x\nFROM scratch\nCOPY --from=big /x /x\n"
    )
    build(folder, "-t", "x")
    assert max(path.stat().st_size for path in (root / "blobs/sha256").iterdir()) < 2 << 20
    assert len(Store.open(root).find("x").manifest.layers) == 1


def test_stages_that_the_target_does_not_need_are_not_run(build, context):
    folder = context("FROM ubuntu AS one\nRUN echo 1 > /1\nFROM one AS two\nRUN false\nFROM one\nRUN echo 3 > /3\n")
    assert build(folder)[0] == ["RUN echo 1 > /1", "RUN echo 3 > /3"]
    assert build(folder, "--target", "one")[1] == ["RUN echo 1 > /1"]


def test_a_failing_step_gives_its_exit_code_and_ends_the_others(pybuild, context, ubuntu):
    folder = context(
        "FROM ubuntu AS slow\nRUN sleep 100\nFROM ubuntu\nRUN sleep 0.2; echo last words; exit 42\nCOPY --from=slow /x /x\n"
    )
    start = time.monotonic()
    done = pybuild("build", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder, code=42)
    assert time.monotonic() - start < 60
    assert "last words" in done.err and "Dockerfile:4:1: exit code 42" in done.err
    assert "CANCELED" in done.err


def test_two_builds_at_once_do_a_step_once(context, ubuntu, root, tmp_path):
    folder = context("FROM ubuntu\nRUN sleep 1; cat /proc/sys/kernel/random/uuid > /id\n")
    command = [*COMMAND, "--root", str(root), "build", "-q", "--build-context", f"ubuntu=oci-layout://{ubuntu}", str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    ids = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(ids) == 1


def at_its_marker(root: Path, ubuntu: Path, folder: Path) -> subprocess.Popen[str]:
    """A build that has just printed `marker` in one of its steps."""
    base = f"ubuntu=oci-layout://{ubuntu}"
    command = [*COMMAND, "--root", str(root), "build", "--progress", "plain", "--build-context", base, str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.endswith(" marker\n"):
            break
    return process


def left_over(root: Path) -> list[str]:
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(root) in line]
    return [*os.listdir(root / "tmp"), *(name for name in os.listdir(root / "locks") if name.startswith("step-")), *mounts]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_and_goes_on_next_time(build, context, ubuntu, root, number):
    folder = context("FROM ubuntu\nRUN echo 1 > /one\nRUN echo marker; sleep 54321\n")
    process = at_its_marker(root, ubuntu, folder)
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "error: interrupted" in rest and "Traceback" not in rest
    assert left_over(root) == []
    assert subprocess.run(["pgrep", "-f", "sleep 54321"], capture_output=True, check=False).returncode == 1
    (folder / "Dockerfile").write_text("FROM ubuntu\nRUN echo 1 > /one\nRUN echo 2 > /two\n")
    assert build(folder)[:2] == (["RUN echo 2 > /two"], ["RUN echo 1 > /one"])


def test_kill_9_loses_at_most_the_running_step(build, context, ubuntu, root):
    folder = context("FROM ubuntu\nRUN echo 1 > /one\nRUN echo marker; sleep 54322\n")
    process = at_its_marker(root, ubuntu, folder)
    process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while subprocess.run(["pgrep", "-f", "sleep 54322"], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert str(root) not in Path("/proc/mounts").read_text()
    (folder / "Dockerfile").write_text("FROM ubuntu\nRUN echo 1 > /one\nRUN echo 2 > /two\n")
    assert build(folder)[:2] == (["RUN echo 2 > /two"], ["RUN echo 1 > /one"])


def test_a_warm_build_imports_nothing_heavy(context, root):
    folder = context("FROM scratch\nCOPY a /a\nENV B=c\n", a="A")
    code = f"{IMPORT}\nfrom pybuild.cli import run; run(['--root', {str(root)!r}, 'build', '-q', {str(folder)!r}])\nprint(*sys.modules)"
    for _ in range(2):
        out = subprocess.run([*PYTHON, code], capture_output=True, check=True, text=True).stdout
    # blake3 is there for files that changed in the last two seconds: these are read again.
    heavy = {
        *("lark", "requests", "urllib3", "rich", "zstandard", "isal", "tarfile", "tempfile", "subprocess", "logging", "asyncio"),
        "threading",
        *(
            "concurrent.futures",
            "ctypes",
            "dataclasses",
            "inspect",
            "random",
            "click",
            "typing",
            "pathlib",
            "hashlib",
            "_hashlib",
            "pickle",
            "sqlite3",
            "datetime",
            "ipaddress",
            "urllib.parse",
            "pybuild.builder.steps.solver",
            "pybuild.builder.planning.plan",
            "pybuild.grammar.instructions",
        ),
    }
    assert sorted(heavy & set(out.split())) == []


def test_a_stage_is_done_anew_with_all_that_needs_it(build, context):
    folder = context(
        "FROM ubuntu AS one\nRUN cat /proc/sys/kernel/random/uuid > /id\nFROM ubuntu AS two\nRUN echo 2 > /two\n"
        "FROM ubuntu\nRUN echo 0 > /zero\nCOPY --from=one /id /\nCOPY --from=two /two /\n"
    )
    build(folder)
    ran, cached, _ = build(folder, "--no-cache-filter", "One")
    assert sorted(ran) == ["COPY --from=one /id /", "RUN cat /proc/sys/kernel/random/uuid > /id"]
    assert sorted(cached) == ["COPY --from=two /two /", "RUN echo 0 > /zero", "RUN echo 2 > /two"]
    # What came out as it was is no reason for anything else to be done again.
    ran, cached, _ = build(folder, "--no-cache-filter=two", "--no-cache-filter", "2")
    assert "RUN echo 2 > /two" in ran and "RUN echo 0 > /zero" in ran
    assert build(folder)[0] == []


def test_a_stage_to_be_done_anew_has_to_be_there(pybuild, context, ubuntu):
    folder = context("FROM scratch AS build\nCOPY Dockerfile /\n")
    done = pybuild("build", "--no-cache-filter", "biuld", folder, code=2)
    assert done.err.endswith(
        "error: --no-cache-filter: no stage 'biuld' in this build\nhint: did you mean 'build'? stages that are built: build\n"
    )


STAGES = """\
FROM ubuntu AS made
ARG A=1
COPY src /src
RUN grep -v ^# /src > /out; chmod 750 /out
FROM ubuntu
COPY --from=made /out /out
RUN cat /out > /copy
WORKDIR /w
COPY last /last
"""


def test_a_stage_that_ran_again_and_made_the_same_leaves_the_rest_as_it_was(build, context, root):
    folder = context(STAGES, src="# one\nreal\n", last="L")
    first = build(folder, "-t", "x")[2]
    (folder / "src").write_text("# another comment\nreal\n")
    ran, cached, second = build(folder, "-t", "x")
    assert sorted(ran) == ["COPY src /src", "RUN grep -v ^# /src > /out; chmod 750 /out"]
    assert sorted(cached) == ["COPY --from=made /out /out", "COPY last /last", "RUN cat /out > /copy", "WORKDIR /w"]
    assert first == second
    assert build(folder)[0] == [], "and the next build finds all of it by its keys"
    (folder / "src").write_text("# another comment\nunreal\n")
    ran, cached, third = build(folder, "-t", "x")
    assert len(ran) == 6 and third != first
    names = {}
    store = Store.open(root)
    for layer in store.find("x").manifest.layers:
        with tarfile.open(store.path(layer.digest)) as archive:
            names |= {item.name: archive.extractfile(item).read() for item in archive if item.name in ("out", "copy")}
    assert names == {"out": b"unreal\n", "copy": b"unreal\n"}


@pytest.mark.parametrize("change", ["chmod 755 /out", "chown 1:1 /out", "ln -s out /more", "echo other > /out"])
def test_a_mode_an_owner_and_a_link_count_as_another_result(build, context, change):
    folder = context(STAGES.replace("/out /out", "/out /mor* /"), src="real\n", last="L")
    build(folder)
    (folder / "Dockerfile").write_text(
        STAGES.replace("/out /out", "/out /mor* /").replace("chmod 750 /out", f"chmod 750 /out; {change}")
    )
    ran, _, _ = build(folder)
    assert "COPY --from=made /out /mor* /" in ran and "COPY last /last" in ran


def test_a_run_that_made_the_same_again_leaves_what_stands_on_it(build, context):
    folder = context("FROM ubuntu\nARG A=1\nRUN echo same > /x\nRUN cat /x > /y\nCOPY a /a\n", a="A")
    text = (folder / "Dockerfile").read_text()
    build(folder)
    (folder / "Dockerfile").write_text(text.replace("echo same > /x", "echo same > /x # a comment"))
    ran, cached, _ = build(folder)
    assert (ran, sorted(cached)) == (["RUN echo same > /x # a comment"], ["COPY a /a", "RUN cat /x > /y"])


def test_what_is_done_anew_with_another_result_takes_the_rest_along(build, context):
    folder = context("FROM ubuntu\nRUN cat /proc/sys/kernel/random/uuid > /id\nRUN cat /id > /copy\n")
    build(folder)
    assert len(build(folder, "--no-cache")[0]) == 2
    (folder / "Dockerfile").write_text(
        "FROM ubuntu AS one\nRUN cat /proc/sys/kernel/random/uuid > /id\nFROM one AS two\nRUN cat /id > /copy\n"
    )
    ran, _, _ = build(folder, "--no-cache-filter", "one")
    assert sorted(ran) == ["RUN cat /id > /copy", "RUN cat /proc/sys/kernel/random/uuid > /id"]


BOUND = """\
FROM ubuntu AS made
COPY code /code
RUN mkdir -p /out/sub && grep -v ^# /code > /out/program && ln -s program /out/link && echo $RANDOM-$$ > /noise
RUN cat /proc/sys/kernel/random/uuid > /more-noise
FROM ubuntu
RUN --mount=from=made,source=/out,target=/in cat /in/program > /copy
RUN --mount=from=made,source=/out/link,target=/in cat /in > /copied-link
RUN --mount=type=cache,from=made,source=/out,target=/in echo cache > /cache
COPY last /last
"""
BOUND_RUNS = [line for line in BOUND.splitlines() if "--mount" in line]


def test_a_run_that_is_shown_the_same_again_is_not_run_again(build, context):
    folder = context(BOUND, code="# one\nreal\n", last="L")
    first = build(folder, "-t", "x")[2]
    (folder / "code").write_text("# two\nreal\n")
    ran, cached, second = build(folder, "-t", "x")
    assert {"COPY last /last", *BOUND_RUNS} == set(cached) and len(ran) == 3
    assert first == second
    assert build(folder)[0] == [], "and the next build finds all of it by its keys"
    (folder / "code").write_text("# two\nunreal\n")
    ran, cached, third = build(folder, "-t", "x")
    assert set(BOUND_RUNS[:2]) < set(ran) and third != first


@pytest.mark.parametrize("change", ["chmod 700 /out", "chown 1:1 /out/program", "ln -s x /out/more", "echo x >> /out/program"])
def test_a_run_that_is_shown_something_else_is_run_again(build, context, change):
    folder = context(BOUND, code="real\n", last="L")
    build(folder)
    (folder / "Dockerfile").write_text(BOUND.replace("&& echo $RANDOM", f"&& {change} && echo $RANDOM"))
    ran, cached, _ = build(folder)
    assert BOUND_RUNS[0] in ran
    # Of the folder's own mode and its other files this one sees nothing.
    assert (BOUND_RUNS[1] in cached) == ("program" not in change)


def test_what_is_shown_is_compared_mount_by_mount(build, context, root):
    stages = "FROM ubuntu AS a\nRUN echo a > /x; echo a > /z\nFROM ubuntu AS b\nRUN echo b > /x; echo b > /z\nFROM ubuntu\n"
    run = "RUN --mount=from=a,source=/x,target=/1 --mount=from=b,source=/x,target=/2 --mount=from={},source=/z,target=/3 cat /? > /f"
    folder = context(stages + run.format("b"))
    build(folder)
    (folder / "Dockerfile").write_text(stages + run.format("a"))
    assert build(folder, "-t", "x")[0] == [run.format("a")]
    store = Store.open(root)
    with tarfile.open(store.path(store.find("x").manifest.layers[-1].digest)) as archive:
        assert archive.extractfile("f").read() == b"a\nb\na\n"


@pytest.mark.peers("umoci", "skopeo", "docker-registry")
def test_a_base_that_has_moved_counts_with_pull_alone(build, pybuild, context, registry, ubuntu, tmp_path):
    name = registry.name(f"moving/base:{os.getpid()}")
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{ubuntu}:latest", f"docker://{name}")
    folder = context(f"FROM {name} AS made\nRUN cat /version > /copy; true\nFROM {name}\nCOPY --from=made /copy /copy\n")
    first = build(folder)[2]
    (tmp_path / "next").mkdir()
    (tmp_path / "next/Dockerfile").write_text(f"FROM {name}\nRUN echo 2 > /version\n")
    pybuild("--root", tmp_path / "other", "build", "-t", name, "--push", tmp_path / "next")
    assert build(folder) == ([], ["RUN cat /version > /copy; true", "COPY --from=made /copy /copy"], first)
    ran, _, moved = build(folder, "--pull")
    assert len(ran) == 2 and moved != first
    assert f"{name} is another image:" in pybuild("why").out
    assert build(folder)[2] == moved, "what was pulled is what the store has of that name"
