"""Who gets which folder of a cache mount: alone, together with others, or after them; between processes too."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pybuild.builder.steps.caches import Cache, taken

ROOT = Path(__file__).resolve().parents[3]


class Waited(Exception):
    """It would have waited."""


def refuse() -> None:
    raise Waited


@pytest.fixture
def take(workspace):
    def run(sharing, cache=None, check=refuse, fill=None):
        return taken(cache or Cache("/var/cache/apt"), sharing, workspace, fill=fill, check=check)

    return run


def test_a_folder_is_kept_under_a_name_that_tells_its_id(take, workspace):
    with take("shared") as path:
        Path(path, "file").write_text("x")
    assert os.path.dirname(path) == f"{workspace.store.root}/caches"
    assert os.path.basename(path).startswith("var-cache-apt-")
    assert oct(os.stat(path).st_mode) == "0o40755"
    with take("locked") as again:
        assert again == path and Path(again, "file").read_text() == "x"


def test_shared_is_shared_and_private_is_not(take):
    with take("shared") as one, take("shared") as two, take("private") as three, take("private") as four:
        assert one == two and len({one, three, four}) == 3
    with take("private") as again:
        assert again == one


def test_shared_does_not_go_in_where_somebody_wants_to_be_alone(take):
    with take("private") as one, take("shared") as two:
        assert one != two


def test_locked_waits(take):
    for first in ("shared", "private", "locked"):
        with take(first), pytest.raises(Waited):
            take("locked").__enter__()


def test_locked_goes_on_when_the_other_has_ended(take):
    order = []
    started = threading.Event()

    def second() -> None:
        with take("locked", check=started.set):
            order.append("second")

    with take("locked"):
        thread = threading.Thread(target=second)
        thread.start()
        assert started.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_another_owner_mode_or_beginning_is_another_cache(take):
    caches = (Cache("a"), Cache("b"), Cache("a", mode=0o700), Cache("a", uid=1), Cache("a", gid=1), Cache("a", seed="s"))
    assert len({cache.name for cache in caches}) == len(caches)
    for text in ("../../etc", "/", "..", "a" * 500, "x\n\0y"):
        assert "/" not in Cache(text).name and len(Cache(text).name) < 64 and not Cache(text).name.startswith(".")


def test_a_new_one_begins_with_what_fills_it(take):
    def fill(path: str) -> None:
        os.mkdir(path)
        Path(path, "seed").write_text("x")

    with take("shared", fill=fill) as path:
        assert os.listdir(path) == ["seed"]
        os.unlink(f"{path}/seed")
    with take("shared", fill=fill) as path:
        assert os.listdir(path) == []


@pytest.mark.root
def test_owner_and_mode(take):
    with take("shared", Cache("a", None, 0o1777, 1000, 100)) as path:
        status = os.stat(path)
        assert (status.st_uid, status.st_gid, oct(status.st_mode)) == (1000, 100, "0o41777")


def test_another_process_holds_it_until_it_ends(take, workspace):
    program = f"""
import sys; sys.path.insert(0, {str(ROOT)!r}); import pybuild; pybuild.__path__.append({str(ROOT)!r})
from pathlib import Path
from pybuild.builder.steps.caches import Cache, taken
from pybuild.builder.workspace import Workspace
with Workspace.open(Path({str(workspace.store.root)!r})) as own, taken(Cache("/var/cache/apt"), "locked", own, fill=None, check=None):
    print("held", flush=True); sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Waited):
            take("locked").__enter__()
        process.kill()
        process.wait()
        with take("locked"):
            pass
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
