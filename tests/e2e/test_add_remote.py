"""ADD of URLs and of git repositories, through the command line: what comes out, and what is done again."""

from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from real.web import MODIFIED

pytestmark = pytest.mark.slow


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.uid = len(content), 7
            tar.addfile(item, io.BytesIO(content.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0)


@pytest.fixture
def tree(pybuild, tmp_path):
    """Build a context; the members of its file system by name, and what they hold."""

    def build(folder: Path, *arguments: object) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        out = tmp_path / "out.tar"
        pybuild("build", "-o", f"type=tar,dest={out}", *arguments, folder)
        with tarfile.open(out) as tar:
            return {item.name.strip("/"): (item, tar.extractfile(item).read() if item.isreg() else b"") for item in tar}

    return build


def test_a_url_is_a_file_of_its_name_for_its_owner_alone_as_of_the_servers_time(tree, context, site):
    site.files["/p/f.txt"] = b"hello"
    site.redirects["/r"] = "/p/f.txt"
    found = tree(
        context(
            f"FROM scratch\nADD {site.url}/p/f.txt /a/\nADD {site.url}/r /b/\nADD --chown=1:2 --chmod=644 {site.url}/p/f.txt l /c/\n"
            f"ADD {site.url}/p/f.txt /d\n",
            l="local",
        )
    )
    item, content = found["a/f.txt"]
    assert (item.mode, item.uid, int(item.mtime), content) == (0o600, 0, MODIFIED, b"hello")
    assert found["b/r"][1] == found["d"][1] == b"hello"
    assert (found["c/f.txt"][0].mode, found["c/f.txt"][0].uid, found["c/f.txt"][0].gid) == (0o644, 1, 2)
    assert found["c/l"][1] == b"local"


def test_a_url_is_unpacked_only_when_asked_for(tree, context, site):
    site.files["/x.tgz"] = archive(**{"in/f": "F"})
    found = tree(context(f"FROM scratch\nADD {site.url}/x.tgz /a/\nADD --unpack {site.url}/x.tgz /b/\n"))
    assert found["a/x.tgz"][1] == site.files["/x.tgz"]
    assert found["b/in/f"][1] == b"F" and found["b/in/f"][0].uid == 7


def test_what_has_not_changed_is_neither_sent_nor_done_again(pybuild, context, site):
    site.files["/f"] = b"hello"
    folder = context(f"FROM scratch\nADD {site.url}/f /f\n")
    first = pybuild("build", "-q", folder).out
    assert pybuild("build", "-q", folder).out == first
    assert site.asked == ["GET /f 200", "GET /f 304"]
    site.files["/f"] = b"other"
    assert pybuild("build", "-q", folder).out != first
    said = pybuild("why").out
    hello, other = (hashlib.sha256(content).hexdigest()[:12] for content in (b"hello", b"other"))
    assert f"its content is another: {hello} → {other}\n" in said
    assert f"takes [2/3] fetch {site.url}/f, which changed\n" in said


def test_a_file_known_by_its_checksum_needs_no_network_and_no_client(pybuild, context, site, root):
    site.files["/f"] = b"hello"
    folder = context(f"FROM scratch\nADD --checksum=sha256:{hashlib.sha256(b'hello').hexdigest()} {site.url}/f /f\n")
    pybuild("build", "-q", folder)
    code = (
        "import sys, pybuild\n"
        f"pybuild.build({str(folder)!r}, root={str(root)!r})\n"
        "print([name for name in ('requests', 'urllib3', 'subprocess') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert len(site.asked) == 1
    site.files.clear()
    assert pybuild("build", "-q", "--no-cache", folder).out


def test_another_checksum_stops_the_build_at_its_line(pybuild, context, site):
    site.files["/f"] = b"hello"
    folder = context(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {site.url}/f /f\n")
    said = pybuild("build", folder, code=1).err
    assert "Dockerfile:2:88: " in said and f"the content is sha256:{hashlib.sha256(b'hello').hexdigest()}, and not" in said


def test_a_repository_is_its_files(tree, context, site, repository):
    found = tree(
        context(
            f"FROM scratch\nADD {site.url}/git/r.git /a\nADD {site.url}/git/r.git#v1:sub /b/\n"
            f"ADD --chown=3:4 --exclude=sub --exclude=*.sh {site.url}/git/r.git?branch=other /c\n"
            f"ADD --keep-git-dir {site.url}/git/r.git /d/\n"
        )
    )
    assert sorted(name for name in found if name.startswith("a/")) == [
        "a/f",
        "a/l",
        "a/sub",
        "a/sub/deep",
        "a/sub/deep/s",
        "a/x.sh",
    ]
    assert found["a/f"][1] == b"two\n" and found["a/f"][0].uid == 0 and found["a/x.sh"][0].mode == 0o755
    assert sorted(name for name in found if name.startswith("b/")) == ["b/deep", "b/deep/s"]
    assert sorted(name for name in found if name.startswith("c/")) == ["c/f", "c/l", "c/o"]
    assert (found["c/o"][0].uid, found["c/o"][0].gid) == (3, 4)
    assert "d/.git/HEAD" in found


def test_a_commit_makes_the_key_and_a_branch_that_moves_on_is_seen(pybuild, context, site, tmp_path):
    from real.repositories import Repository

    (tmp_path / "own").mkdir()
    own = Repository.made(tmp_path / "own")
    site.repositories = own.folder
    folder = context(f"FROM scratch\nADD {site.url}/git/r.git#main /a\n")
    first = pybuild("build", "-q", folder).out
    assert pybuild("build", "-q", folder).out == first
    before = own.commit("main")
    own.push("three")
    assert pybuild("build", "-q", folder).out != first
    assert f"its commit is another: {before[:12]} → {own.commit('main')[:12]}\n" in pybuild("why").out
    (folder / "Dockerfile").write_text(f"FROM scratch\nADD {site.url}/git/r.git#{own.commit('main')} /a\n")
    asked = len(site.asked)
    pybuild("build", "-q", folder)
    assert len(site.asked) == asked
