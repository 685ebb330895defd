"""--memory, --cpus and --pids-limit: held by control groups, named when they end a step, and gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from real.command import COMMAND

pytestmark = [pytest.mark.root, pytest.mark.peers("umoci"), pytest.mark.slow]


def groups() -> list[str]:
    """Those of steps: the one that keeps devices away is another matter."""
    found = [where for where, _, _ in os.walk("/sys/fs/cgroup") if "/pybuild-" in where]
    return [where for where in found if not where.endswith("/pybuild-devices")]


@pytest.fixture
def build(pybuild, ubuntu, context):
    def run(script, *options, code=0):
        folder = context(f"FROM ubuntu\nRUN {script}\n")
        base = f"ubuntu=oci-layout://{ubuntu}"
        err = pybuild("build", "--progress", "plain", "--build-context", base, *options, folder, code=code).err
        assert groups() == []
        return err

    return run


def test_memory_that_runs_out_is_named(build):
    said = build("tail /dev/zero", "--memory", "40m", code=137)
    assert "error: " in said and "out of memory, exit code 137" in said
    assert "--memory allows 40 MiB" in said


def test_an_end_of_another_kind_is_not(build):
    said = build("sh -c 'kill -9 $$'; exit $?", "--memory", "40m", code=137)
    assert "out of memory" not in said


def test_processes_are_counted(build):
    said = build("for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait", "--pids-limit", "5", code=2)
    assert "can't fork" in said
    build("for i in 1 2 3; do true & done; wait", "--pids-limit", "20")


def test_time_is_shared_out(build):
    script = "time -p sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done'"
    said = build(script, "--cpus", "0.1")
    real, user = (float(said.partition(f"{name} ")[2].split()[0]) for name in ("real", "user"))
    assert real > 3 * user


@pytest.mark.parametrize(("option", "value"), [("--memory", "lots"), ("--cpus", "0"), ("--cpus", "x"), ("--pids-limit", "0")])
def test_a_limit_that_makes_no_sense(build, option, value):
    assert value in build("true", option, value, code=2)


def test_a_kill_leaves_a_group_until_the_next_command(ubuntu, context, root, pybuild):
    folder = context("FROM ubuntu\nRUN echo rea''dy; sleep 65434\n")
    command = [
        *COMMAND,
        "--root",
        root,
        "build",
        "--progress",
        "plain",
        "--memory",
        "40m",
        "--build-context",
        f"ubuntu=oci-layout://{ubuntu}",
        folder,
    ]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as process:
        assert any("ready" in line for line in process.stderr)
        assert len(groups()) == 1
        process.send_signal(signal.SIGKILL)
        process.stderr.read()
        process.wait()
    pybuild("build", context("FROM scratch\nCOPY Dockerfile /\n"))
    assert groups() == [] and not os.listdir(root / "tmp")
    assert str(root) not in Path("/proc/mounts").read_text()
