"""`system df`, `prune` and the limit, as a user meets them."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from pybuild.api import open_store
from pybuild.builder.workspace import CACHES
from pybuild.limits import limit_of
from pybuild.measures import read_moment, read_size
from pybuild.registry.errors import StoreError


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a").write_bytes(os.urandom(1_000_000))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    return folder


def test_df_says_what_is_there_and_what_could_go(cli, context):
    cli("build", "-t", "one", context)
    (context / "a").write_bytes(os.urandom(1_000_000))
    cli("build", "-t", "one", context)
    rows = {row["Type"]: row for row in map(json.loads, cli("system", "df", "--format", "json")[1].splitlines())}
    assert [rows["Images"][key] for key in ("Total", "Active")] == [2, 1]
    assert 2_000_000 < rows["Images"]["Size"] < 2_100_000 and 1_000_000 < rows["Images"]["Reclaimable"] < 1_050_000
    assert rows["Steps"] == {"Type": "Steps", "Total": 2, "Active": 1, "Size": 0, "Reclaimable": 0}
    code, out, _ = cli("system", "df")
    assert code == 0 and out.splitlines()[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert out.splitlines()[1].split()[:3] == ["Images", "2", "1"] and "(50%)" in out
    kinds = [line.split()[0] for line in cli("system", "df", "-v")[1].splitlines()]
    assert kinds == ["KIND", "image", "image", "step", "step"]
    assert cli("system", "df", "--format", "{{.Type}} {{.Total}}")[1].startswith("Images 2\nSteps 2\n")


def test_prune_says_what_went(cli, context):
    cli("build", "-t", "one", context)
    first = open_store(None).find("one")
    (context / "a").write_bytes(os.urandom(1_000_000))
    cli("build", "-t", "one", context)
    code, out, _ = cli("prune", "--dry-run")
    lines = (f"image {first.descriptor.digest.short}", "1 step", r"would free 1\.0\d*MB", "")
    assert code == 0 and re.fullmatch("\n".join(lines), out)
    assert cli("prune", "--filter", "until=1h")[1] == "freed 0B\n"
    assert cli("prune", "--keep-storage", "10GB")[1] == "freed 0B\n"
    assert cli("prune")[1] == out.replace("would free", "freed")
    assert cli("prune", "-q")[1] == "freed 0B\n"
    assert open_store(None).find("one").id != first.id


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--filter", "until=soon"), "'soon' is neither a duration nor a time"),
        (("--filter", "label=x"), "no filter 'label=x'; there is until=24h"),
        (("--keep-storage", "much"), "'much' is not a size"),
    ],
)
def test_what_prune_cannot_read_is_a_usage_error(cli, arguments, said):
    code, _, err = cli("prune", *arguments)
    assert code == 2 and said in err


def test_a_store_over_its_limit_is_pruned_after_a_build(cli, context, monkeypatch):
    monkeypatch.setenv("PYBUILD_KEEP_STORAGE", "1kB")
    cli("build", "-t", "one", context)
    place = Path(open_store(None).root, CACHES, "m")
    place.mkdir(parents=True)
    cli("build", "-t", "one", context)
    assert place.exists(), "not more than once an hour"
    os.utime(f"{open_store(None).root}/locks/done-prune", (time.time() - 4000,) * 2)
    assert cli("build", "-t", "one", context)[0] == 0
    assert not place.exists()
    assert open_store(None).find("one")


def test_the_limit():
    assert limit_of({}, 50 * 10**9) == 10 * 10**9
    assert limit_of({}, 10**12) == 10**11
    assert limit_of({"PYBUILD_KEEP_STORAGE": "2GiB"}, 1) == 2 << 30
    assert limit_of({"PYBUILD_KEEP_STORAGE": "off"}, 1) is None
    with pytest.raises(StoreError, match="PYBUILD_KEEP_STORAGE: 'x' is not a size"):
        limit_of({"PYBUILD_KEEP_STORAGE": "x"}, 1)


def test_a_wrong_limit_is_said_before_the_build(cli, context, monkeypatch):
    monkeypatch.setenv("PYBUILD_KEEP_STORAGE", "x")
    assert cli("build", "-t", "one", context)[0] == 1
    assert not open_store(None).images()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("12", 12),
        ("1k", 1000),
        ("1.5 kB", 1500),
        ("2MiB", 2 << 20),
        ("10GB", 10**10),
        ("3g", 3 * 10**9),
        ("1TB", 10**12),
    ],
)
def test_sizes(text, size):
    assert read_size(text) == size


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", 1_000_000 - 86400), ("1h30m", 1_000_000 - 5400), ("7d", 1_000_000 - 7 * 86400), ("500ms", 999_999.5),
        ("12", 12.0), ("1970-01-02", 86400.0), ("1970-01-02T01:00:00Z", 90000.0),
    ],
)  # fmt: skip
def test_moments(text, moment):
    assert read_moment(text, 1_000_000.0) == moment


@pytest.mark.parametrize("text", ["", "h", "24h ", "yesterday", "2026-13-01"])
def test_what_is_no_moment(text):
    with pytest.raises(ValueError, match="neither a duration nor a time"):
        read_moment(text, 0)


@pytest.mark.damaged
def test_verify_says_what_is_wrong_and_ends_with_1_until_it_is_right(cli, context):
    cli("build", "-t", "one", context)
    assert cli("store", "verify") == (0, "checked 1 image, 3 blobs, 1 layer, 0 trees, and the database: no fault\n", "")
    store = open_store(None)
    blob = store.find("one").manifest.layers[0]
    os.truncate(store.path(blob.digest), 3)
    code, out, err = cli("store", "verify")
    assert code == 1 and err.startswith("hint: 'pybuild store verify --repair'")
    assert out.splitlines()[1:] == [
        "    needed by one:latest",
        "checked 1 image, 3 blobs, 1 layer, 0 trees, and the database: 1 fault",
    ]
    code, out, _ = cli("store", "verify", "--repair")
    assert code == 0 and "    removed\nimage one:latest: removed; build or pull it again\n" in out
    assert cli("build", "-t", "one", context)[0] == 0 and store.has(blob)
    assert cli("store", "verify")[0] == 0


@pytest.mark.damaged
def test_damage_that_a_command_meets_leads_to_verify(cli, context, tmp_path):
    cli("build", "-t", "one", context)
    store = open_store(None)
    blob = store.find("one").manifest.layers[0]
    with open(store.path(blob.digest), "r+b") as file:
        file.write(b"?")
    code, _, err = cli("save", "-o", tmp_path / "out.tar", "one")
    assert code == 1 and "hint: the store is damaged: 'pybuild store verify --repair'" in err
    Path(store.root, "index.json").write_text("")
    code, _, err = cli("images")
    assert code == 1 and "'pybuild store verify --repair'" in err
