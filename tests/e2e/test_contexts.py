"""Contexts that are no folders: standard input, archives and Dockerfiles at URLs, git repositories; and named ones."""

from __future__ import annotations

import bz2
import contextlib
import datetime
import gzip
import io
import json
import lzma
import os
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard
from real.web import MODIFIED

pytestmark = pytest.mark.slow
FILES = {"Dockerfile": "FROM scratch\nCOPY . /\n", "f": "F", "sub/Other": "FROM scratch\nCOPY f /only\n", ".dockerignore": "f\n"}
SQUEEZED = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}


def archive(files: dict[str, str | tarfile.TarInfo] = FILES) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            item = tarfile.TarInfo(name)
            item.size, item.uid, item.mode, item.mtime = len(content), 7, 0o4755, 1_500_000_000
            tar.addfile(item, io.BytesIO(content.encode()))
    return buffer.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    item = tarfile.TarInfo(name)
    item.type, item.linkname = tarfile.SYMTYPE, target
    return item


@pytest.fixture
def tree(pybuild, tmp_path):
    """Build; the files of the image by name, with what is in them."""

    def build(*arguments: object, stdin: bytes | None = None) -> dict[str, bytes]:
        out = tmp_path / "out.tar"
        pybuild("build", "-q", "-o", f"type=tar,dest={out}", *arguments, stdin=stdin)
        with tarfile.open(out) as tar:
            return {item.name.strip("/"): tar.extractfile(item).read() for item in tar if item.isreg()}

    return build


@pytest.mark.parametrize("name", SQUEEZED)
def test_an_archive_on_standard_input(tree, name):
    found = tree("-", stdin=SQUEEZED[name](archive()))
    # An ignore file in it is a file like others, as in BuildKit.
    assert sorted(found) == sorted(FILES)
    assert found["f"] == b"F"


def test_a_dockerfile_in_the_archive_may_have_another_name(tree, pybuild):
    assert tree("-f", "sub/Other", "-", stdin=archive()) == {"only": b"F"}
    assert tree("-f", "../sub/./Other", "-", stdin=archive()) == {"only": b"F"}
    assert "no sub/None in stdin" in pybuild("build", "-f", "sub/None", "-", stdin=archive(), code=1).err


def test_owners_do_not_count_and_modes_and_times_do(pybuild, tmp_path):
    out = tmp_path / "out.tar"
    pybuild("build", "-q", "-o", f"type=tar,dest={out}", "-", stdin=archive())
    with tarfile.open(out) as tar:
        item = next(item for item in tar if item.name.strip("/") == "f")
    assert (item.uid, item.mode, int(item.mtime)) == (0, 0o4755, 1_500_000_000)


def test_an_unchanged_archive_does_nothing_anew(pybuild):
    first = pybuild("build", "-q", "-", stdin=archive()).out
    assert pybuild("build", "-q", "-", stdin=gzip.compress(archive())).out == first
    lines = pybuild("build", "--progress", "json", "-", stdin=archive()).err.splitlines()
    ended = [json.loads(line) for line in lines if '"StepFinished"' in line]
    assert ended[-1]["is_cached"]


def test_a_link_in_an_archive_does_not_lead_out_of_it(pybuild, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("FROM scratch\nLABEL secret=yes\n")
    for files in (
        {"Dockerfile": link("Dockerfile", str(secret))},
        {"d": link("d", str(tmp_path)), "Dockerfile": "FROM scratch\nCOPY d/secret /\n"},
        {"d": link("d", "../../../../../../.."), "Dockerfile": f"FROM scratch\nCOPY d{secret} /\n"},
    ):
        said = pybuild("build", "-", stdin=archive(files), code=1).err
        assert "not found" in said or "no Dockerfile" in said
    said = pybuild("build", "-", stdin=archive({"../out": "x", "Dockerfile": "FROM scratch\n"}), code=1).err
    assert "leaves the archive's root" in said
    outside = {"d": link("d", str(tmp_path)), "d/out": "x", "Dockerfile": "FROM scratch\nCOPY . /\n"}
    pybuild("build", "-", stdin=archive(outside))
    assert not (tmp_path / "out").exists()


def test_a_dockerfile_alone_on_standard_input(tree, pybuild):
    assert tree("-", stdin=b"FROM scratch\nCOPY <<a /a\nx\na\n") == {"a": b"x\n"}
    said = pybuild("build", "-", stdin=b"FROM scratch\nCOPY b /\n", code=1).err
    assert "stdin:2:" in said and "b: not found" in said
    assert "leave -f out" in pybuild("build", "-f", "x", "-", stdin=b"FROM scratch\n", code=1).err


def test_a_dockerfile_on_standard_input_with_a_folder(tree, context, pybuild):
    folder = context("FROM nothing\n", a="A", b="B", _dot_dockerignore="b\n")
    assert sorted(tree("-f", "-", folder, stdin=b"FROM scratch\nCOPY . /\n")) == [".dockerignore", "Dockerfile", "a"]
    assert "both are standard input" in pybuild("build", "-f", "-", "-", stdin=b"", code=1).err


def test_dockerfile_in_lower_case(tree, context):
    folder = context("", a="A")
    (folder / "Dockerfile").unlink()
    (folder / "dockerfile").write_text("FROM scratch\nCOPY a /\n")
    assert tree(folder) == {"a": b"A"}


def test_an_archive_at_a_url(tree, pybuild, site):
    site.files["/x.tar.gz"] = gzip.compress(archive())
    assert sorted(tree(f"{site.url}/x.tar.gz")) == sorted(FILES)
    assert tree("-f", "sub/Other", f"{site.url}/x.tar.gz") == {"only": b"F"}
    assert site.asked == ["GET /x.tar.gz 200", "GET /x.tar.gz 304"]
    assert "answered 404" in pybuild("build", f"{site.url}/none", code=1).err


def test_a_dockerfile_at_a_url(tree, context, site):
    site.files["/Dockerfile"] = b"FROM scratch\nCOPY . /x/\n"
    assert tree(f"{site.url}/Dockerfile") == {"x/context": site.files["/Dockerfile"]}
    assert sorted(tree("-f", f"{site.url}/Dockerfile", context("FROM no\n", a="A"))) == ["x/Dockerfile", "x/a"]


def test_a_git_repository(tree, pybuild, site, tmp_path):
    from real.repositories import Repository, git

    (tmp_path / "own").mkdir()
    own = Repository.made(tmp_path / "own")
    site.repositories = own.folder
    (own.work / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (own.work / "sub/Dockerfile").write_text("FROM scratch\nCOPY deep/s /\n")
    (own.work / ".dockerignore").write_text("f\n")
    git("add", ".", cwd=own.work)
    own.push("three")
    assert sorted(tree(f"{site.url}/git/r.git")) == [".dockerignore", "Dockerfile", "f", "sub/Dockerfile", "sub/deep/s", "x.sh"]
    assert tree(f"{site.url}/git/r.git#main:sub") == {"s": b"s\n"}
    assert "no Dockerfile in" in pybuild("build", f"{site.url}/git/r.git#v1", code=1).err
    assert tree("-f", "-", f"{site.url}/git/r.git#v1", stdin=b"FROM scratch\nCOPY f /\n") == {"f": b"one\n"}
    assert "no branch and no tag" in pybuild("build", f"{site.url}/git/r.git#none", code=1).err


def test_named_contexts_of_all_kinds(tree, pybuild, context, site, foreign_layout, tmp_path):
    site.files["/f"] = b"from a URL"
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("kept")
    (other / "hidden").write_text("hidden")
    (other / ".dockerignore").write_text("hidden\n")
    folder = context(
        "FROM scratch\nCOPY --from=g f /git\nCOPY --from=u context /url\nCOPY --from=d . /dir/\n"
        "COPY --from=l /etc/passwd /layout\nADD --link f /own\n",
        f="own",
    )
    places = (
        f"g={site.url}/git/r.git#v1",
        f"u={site.url}/f",
        f"d={other}",
        f"l=oci-layout://{foreign_layout}",
    )
    found = tree(*(part for place in places for part in ("--build-context", place)), folder)
    assert (found["git"], found["url"], found["own"]) == (b"one\n", b"from a URL", b"own")
    assert sorted(name for name in found if name.startswith("dir/")) == ["dir/.dockerignore", "dir/kept"]
    assert found["layout"].startswith(b"root:")


def test_a_layout_by_tag_and_by_digest(tree, context, foreign_layout):
    index = json.loads((foreign_layout / "index.json").read_text())
    digest = index["manifests"][0]["digest"]
    tag = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
    folder = context("FROM scratch\nCOPY --from=l /etc/passwd /p\n")
    for place in (f":{tag}", f"@{digest}", f":{tag}@{digest}"):
        assert tree("--build-context", f"l=oci-layout://{foreign_layout}{place}", folder)["p"].startswith(b"root:")


def test_a_stage_that_begins_with_a_repository(tree, context, site):
    folder = context("FROM src AS s\nFROM scratch\nCOPY --from=s /f /f\n")
    assert tree("--build-context", f"src={site.url}/git/r.git#v1", folder) == {"f": b"one\n"}


def test_a_plan_and_a_check_of_what_is_elsewhere(pybuild):
    said = pybuild("plan", "-", stdin=b"FROM scratch\nCOPY f /g\n").out
    assert "COPY f /g" in said
    assert pybuild("build", "--check", "-", stdin=b"FROM scratch\nCOPY f /g\n").code == 0


def test_what_is_no_context(pybuild, tmp_path):
    assert "not a context: foo://x" in pybuild("build", "foo://x", code=1).err
    assert "no such folder" in pybuild("build", tmp_path / "none", code=1).err
    assert "more than once" in pybuild("build", "https://h/x.git?ref=a&ref=b", code=1).err


def test_nothing_is_left_behind(pybuild, root, site):
    pybuild("build", "-q", "-", stdin=archive())
    assert os.listdir(Path(root) / "tmp") == []


def test_the_time_that_a_context_or_a_stage_has(pybuild, context, site, tmp_path):
    """SOURCE_DATE_EPOCH by a name: a commit's time, a server's, that of the newest file of an archive; a folder has none."""
    from real.repositories import Repository, git

    (tmp_path / "own").mkdir()
    own = Repository.made(tmp_path / "own")
    site.repositories = own.folder
    stages = f"FROM scratch AS source\nADD {site.url}/git/r.git#main /\nFROM scratch AS file\nADD {site.url}/x.tar /\n"
    last = "FROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL e=${SOURCE_DATE_EPOCH:-none}\nCOPY Dockerfile /d\n"
    (own.work / "Dockerfile").write_text(f"ARG SOURCE_DATE_EPOCH=context\n{last}")
    git("add", ".", cwd=own.work)
    own.push("three")
    committed = git("show", "-s", "--format=%ct", "HEAD", cwd=own.work).split()[-1]

    def label(*arguments: object, value: str | None = None) -> str:
        given = ["--build-arg", f"SOURCE_DATE_EPOCH={value}"] if value else []
        pybuild("build", "-q", "-t", "dated", *given, *arguments)
        found = json.loads(pybuild("inspect", "dated").out)[0]
        if (epoch := found["Config"]["Labels"]["e"]) != "none":
            assert found["Created"] == datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return epoch

    assert label(f"{site.url}/git/r.git") == committed
    assert label("--timestamp", "main", "--build-context", f"main={site.url}/git/r.git", f"{site.url}/git/r.git") == committed
    site.files["/x.tar"] = archive({"Dockerfile": last})
    assert label(f"{site.url}/x.tar", value="context") == "1500000000"
    assert label(f"{site.url}/x.tar") == "none"
    folder = context(stages + last)
    assert label(folder, value="context") == "none"
    assert label(folder, value="source") == committed
    assert label(folder, value="file") == str(MODIFIED)
    assert label("--build-context", f"other={site.url}/git/r.git", folder, value="other") == committed
    assert label("--build-context", f"other={folder}", folder, value="other") == "none"
    site.has_marks = False
    site.files["/y.tar"] = archive({"Dockerfile": last, "f": "F"})
    assert label(f"{site.url}/y.tar", value="context") == "1500000000"
    assert (
        "which is not FROM scratch"
        in pybuild("build", "--build-arg", "SOURCE_DATE_EPOCH=a", context("FROM busybox AS a\nFROM scratch\n"), code=2).err
    )


class Meeting:
    """What is asked for is held back until so many are: one after the other they would wait in vain."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)

    def __call__(self, path: str) -> None:
        if path.startswith("/met"):
            with contextlib.suppress(threading.BrokenBarrierError):
                self.barrier.wait(20)


@pytest.mark.parametrize("what", ["urls", "contexts"])
def test_what_is_elsewhere_is_asked_for_at_the_same_time(what, pybuild, context, site):
    for number in range(3):
        site.files[f"/met{number}"] = f"{number}".encode()
    site.before = meeting = Meeting(3)
    if what == "urls":
        pybuild("build", context("FROM scratch\n" + "".join(f"ADD {site.url}/met{n} /{n}\n" for n in range(3))))
    else:
        named = [word for n in range(3) for word in ("--build-context", f"n{n}={site.url}/met{n}")]
        pybuild("build", *named, context("FROM scratch\n" + "".join(f"COPY --from=n{n} /context /{n}\n" for n in range(3))))
    assert not meeting.barrier.broken
    assert sorted(site.asked) == [f"GET /met{n} 200" for n in range(3)], "each of them once"


def test_of_several_that_are_not_there_the_first_is_told(pybuild, context, site):
    folder = context(f"FROM scratch\nADD {site.url}/one /\nADD {site.url}/two /\n")
    for _ in range(3):
        assert "Dockerfile:2:5: " in pybuild("build", folder, code=1).err
