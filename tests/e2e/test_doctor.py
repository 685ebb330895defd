"""`pybuild doctor`, in places that allow everything, a part, and nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from real.command import COMMAND
from real.ordinary_user import run_as_user

pytestmark = [pytest.mark.root, pytest.mark.peers("newuidmap"), pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]

# What docker's filter refuses without the capability: unshare, mount and so on.
FILTERED = (
    sys.executable,
    "-c",
    f"import ctypes, os, sys; sys.path.insert(0, {str(ROOT)!r}); import pybuild; pybuild.__path__.append({str(ROOT)!r})\n"
    "from pybuild.builder.sandbox import kernel, privileges\n"
    "ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)\n"
    "kernel.load_filter(privileges.seccomp_filter())\n"
    "os.execv(sys.argv[1], sys.argv[1:])",
)
BARE = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


def rows(text: str) -> dict[str, str]:
    return {check["name"]: check["state"] for check in json.loads(text)["checks"]}


def test_root_of_a_machine_has_all_levels(pybuild, root):
    done = pybuild("doctor", "--format", "json")
    assert json.loads(done.out)["levels"] == {"namespaces": True, "user namespaces": True, "chroot": True, "no RUN": True}
    assert json.loads(done.out)["level"] == "namespaces"
    assert {rows(done.out)[name] for name in ("namespaces", "overlay", "seccomp", "devices", "store", "registries")} == {"works"}
    # It has not made a store, nor left anything where that would be.
    assert not root.exists()
    assert [name for name in os.listdir(root.parent) if "doctor" in name] == []
    left = [where for where, _, _ in os.walk("/sys/fs/cgroup") if "/pybuild-" in where]
    assert not [where for where in left if not Path(where, "cgroup.procs").read_text()]


def test_a_store_that_is_there_is_looked_at_too(pybuild, root):
    pybuild("images")
    assert root.is_dir()
    assert rows(pybuild("doctor", "--format", "json").out)["store"] == "works"


def test_a_store_that_cannot_be_written_to_is_said(pybuild, tmp_path):
    (tmp_path / "store").mkdir()
    mounted = (
        f'mount -t tmpfs none {tmp_path}/store && "$@" images && mount -o remount,ro {tmp_path}/store && "$@" doctor; "$@" prune'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", *COMMAND, "--root", str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{tmp_path}/store cannot be written to" in done.stdout
    assert "Read-only file system\nhint: the store cannot be written to: set PYBUILD_ROOT" in done.stderr and done.returncode == 1


def test_as_a_table_it_says_which_level_is_taken(pybuild):
    out = pybuild("doctor").out
    assert out.endswith("levels: namespaces yes, user namespaces yes, chroot yes\nRUN uses: namespaces\n")


def test_an_ordinary_user_has_user_namespaces(home):
    found = json.loads(run_as_user(home, *COMMAND, "doctor", "--format", "json").stdout)
    assert found["level"] == "user namespaces" and found["levels"]["namespaces"] is False
    assert next(check for check in found["checks"] if check["name"] == "ids")["said"] == "65537 mapped"
    assert not os.listdir(home)[1:]


def test_one_id_is_less_and_the_mend_is_said(home):
    done = run_as_user(home, *COMMAND, "doctor", has_range=False)
    assert done.returncode == 0
    assert "--  ids" in done.stdout and "mend: install the package uidmap, and as root: usermod --add-subuids" in done.stdout


def test_root_of_a_container_has_chroot(root):
    command = (*BARE, *FILTERED, *COMMAND, "--root", root, "doctor", "--format", "json")
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["levels"] == {"namespaces": False, "user namespaces": False, "chroot": True, "no RUN": True}
    assert found["level"] == "chroot"
    spaces = next(check for check in found["checks"] if check["name"] == "user namespaces")
    assert spaces["state"] == "fails" and "seccomp=unconfined" in spaces["mend"]


def test_where_nothing_is_allowed_the_exit_code_says_so(home):
    done = run_as_user(home, *FILTERED, *COMMAND, "doctor")
    assert done.returncode == 1
    assert "RUN does not work here" in done.stdout and "NO  user namespaces" in done.stdout
    (home / "run").mkdir()
    (home / "plain").mkdir()
    (home / "run/Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\nRUN true\n")
    (home / "plain/Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    done = run_as_user(home, *FILTERED, *COMMAND, "--root", home / "store", "build", home / "run")
    assert done.returncode == 125 and "user namespaces are refused here" in done.stdout and "pybuild doctor" in done.stdout
    assert run_as_user(home, *FILTERED, *COMMAND, "--root", home / "store", "build", home / "plain").returncode == 0


def test_a_store_on_an_overlay_is_told_apart(tmp_path):
    script = (
        "mkdir -p $1/o && mount -t tmpfs tmpfs $1/o && mkdir $1/o/l $1/o/u $1/o/w $1/o/m && mount -t overlay overlay "
        '-o lowerdir=$1/o/l,upperdir=$1/o/u,workdir=$1/o/w $1/o/m; d=$1; shift; exec "$@" --root $d/o/m/store doctor'
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(tmp_path), *COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--  overlay" in done.stdout and "mend: put the store on a volume" in done.stdout
    assert "store on overlay" in done.stdout


def test_a_configuration_that_makes_no_sense_is_found(pybuild, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text("[[")
    monkeypatch.setenv("PYBUILD_CONFIG", str(tmp_path / "config.toml"))
    out = pybuild("doctor").out
    assert "NO  registries" in out and "config.toml" in out
