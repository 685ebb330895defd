"""Attacks by a Dockerfile, an archive or an image that have worked elsewhere: each is named after the hole that it used.

What is outside of the layer is looked at afterwards, not only what the build says.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from real.command import COMMAND

pytestmark = pytest.mark.root


@pytest.fixture
def outside(tmp_path):
    """A folder of the host's that nothing may touch; it is checked behind the test."""
    folder = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_text("of the host\n")
    (folder / "passwd").write_text("hostuser:x:4321:4321::/:/bin/sh\n")
    for path in (folder / "file", folder / "passwd", folder / "sub", folder):
        os.utime(path, (1, 1))
    before = {path: path.stat().st_ctime_ns for path in (folder, *folder.rglob("*"))}
    yield folder
    assert {path: path.stat().st_ctime_ns for path in (folder, *folder.rglob("*"))} == before


@pytest.fixture
def build(pybuild, ubuntu, context):
    def run(*instructions, options=(), code=0, head="FROM ubuntu", base=None, **files):
        folder = context("\n".join((head, *instructions, "")), **files)
        layout = base or ubuntu
        return pybuild(
            "build",
            "--progress",
            "plain",
            "-t",
            "t",
            "--build-context",
            f"ubuntu=oci-layout://{layout}",
            *options,
            folder,
            code=code,
        )

    return run


def hostile(tmp_path: Path, name: str, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A tar of these entries."""
    path = tmp_path / name
    with tarfile.open(path, "w") as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"evil\n") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    return info, content if kind == tarfile.REGTYPE else b""


def test_cve_2018_15664_copies_through_links_stay_in_the_image(build, pybuild, outside):
    """Also CVE-2019-14271's ground: what is copied to, or from, is looked up in the image, as it is."""
    build(
        f"RUN ln -s {outside} /link && mkdir /deep && ln -s ../../../../../../..{outside} /deep/up && ln -s {outside}/file /single",
        "COPY a /link/a",
        "COPY a /deep/up/b",
        "COPY a /single",
        "ADD a /link/sub/",
        f"RUN cat {outside}/a {outside}/b {outside}/file {outside}/sub/a && ! grep host {outside}/*",
        a="content\n",
    )


def test_cve_2018_15664_a_stage_s_links_lead_nowhere_outside(build, outside):
    err = build(
        "COPY --from=other /link/file /x",
        head=f"FROM ubuntu AS other\nRUN ln -s {outside} /link\nFROM ubuntu",
        code=1,
    ).err
    assert "of the host" not in err
    err = build(
        "RUN --mount=from=other,source=/link/file,target=/x cat /x",
        head=f"FROM ubuntu AS other\nRUN ln -s {outside} /link\nFROM ubuntu",
        code=1,
    ).err
    assert "of the host" not in err


def test_cve_2019_14271_no_library_of_an_image_is_loaded_for_its_accounts(build, outside, pybuild):
    """Names are looked up by us, in the image's own files; a link of theirs leads nowhere outside."""
    build(f"RUN rm /etc/passwd && ln -s {outside}/passwd /etc/passwd", "RUN id")
    err = build(f"RUN rm /etc/passwd && ln -s {outside}/passwd /etc/passwd", "USER hostuser", "RUN id", code=2).err
    assert "no user 'hostuser'" in err


def test_workdir_and_user_through_links_stay_in_the_image(build, outside):
    build(
        f"RUN ln -s {outside} /link && ln -s /proc/self/fd /fds && ln -s ../../../../..{outside}/sub /up",
        "WORKDIR /link/made",
        "RUN touch here && pwd",
        "WORKDIR /up/made",
        "WORKDIR /link/sub",
        f"RUN ls -d {outside}/made {outside}/sub/made && touch x && chmod 777 . && chown 1:1 .",
    )


@pytest.mark.parametrize("number", [3, 7, 12])
def test_cve_2024_21626_workdir_is_no_descriptor_of_the_host(ubuntu, context, root, outside, number):
    """Started with a directory of the host's under each number that the command could try."""
    # What pybuild opens itself takes the numbers between.
    script = f'for n in $(seq 3 40) $(seq 60 79); do eval "exec $n<{outside}/sub"; done; exec "$@"'

    def build(*lines):
        folder = context("\n".join(("FROM ubuntu", *lines, "")))
        arguments = ("build", "--progress", "plain", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder)
        command = ("bash", "-c", script, "bash", *COMMAND, "--root", root, *arguments)
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)

    done = build(f"WORKDIR /proc/self/fd/{number}", "RUN ls ../../../.. / | sort -u | head -50; pwd")
    assert done.returncode == 125 and "cannot enter the working directory" in done.stderr, done.stderr
    for free in (number, number + 57):
        done = build(f"RUN ln -s /proc/self/fd/{free}/ /l{free}; cat /l{free}/../passwd; ls /proc/*/fd; true")
        assert done.returncode == 0 and "hostuser" not in done.stderr, done.stderr
        assert not {"#2 7", "#2 12", f"#2 {number + 57}"}.intersection(done.stderr.splitlines())


def test_cve_2024_23653_privilege_takes_an_entitlement_whoever_asks(build, pybuild, ubuntu, context, tmp_path):
    """Not by an ARG, not by a trigger of a base image, and not when the step is in the cache."""
    build("ARG S=insecure", "RUN --security=$S true", code=2)
    options = ("--allow", "security.insecure")
    build("RUN --security=insecure true", options=options)
    build("RUN --security=insecure true", code=2)
    pybuild(
        "build",
        "-t",
        "base:1",
        "--build-context",
        f"ubuntu=oci-layout://{ubuntu}",
        context("FROM ubuntu\nONBUILD RUN --security=insecure mount -t tmpfs x /tmp\n"),
    )
    err = pybuild("build", context("FROM base:1\n"), code=2).err
    assert "--security=insecure is not allowed" in err


def test_cve_2024_9675_a_cache_is_no_folder_of_the_host(build, root, outside):
    """By its id, by its source, and by links that it has from a step before."""
    escape = "../" * 12 + str(outside)[1:]
    done = build(
        f"RUN --mount=type=cache,id={escape},target=/c echo x > /c/evil; ls /c",
        f"RUN --mount=type=cache,id={outside},target=/c ls -A /c | wc -l",
        f"RUN --mount=type=cache,id=l,target=/c ln -s {outside} /c/link && ln -s {escape} /c/up",
    )
    assert "of the host" not in done.err
    for source in (f"/{escape}", "/link", "/up", "/link/sub", "/../../.."):
        done = build(f"RUN --mount=type=cache,id=l,target=/c,source={source} ls /c && echo x > /c/evil", code=None)
        assert "passwd" not in done.err
    build("RUN --mount=type=cache,id=l,target=/c --mount=type=tmpfs,target=/c/link/sub touch /c/link/sub/evil", code=None)
    assert sorted(os.listdir(root)) and all(
        path.startswith(("caches", "locks", "tmp", "trees", "blobs", "pybuild.db", "oci-layout", "index.json"))
        for path in os.listdir(root)
    )


def test_cve_2024_9407_a_bind_has_no_options_and_no_source_of_the_host(build, outside, tmp_path):
    for source in ("../" * 12 + str(outside)[1:], str(outside)):
        err = build(f"RUN --mount=source={source},target=/m ls /m", code=1).err
        assert "passwd" not in err
    (tmp_path / "context").mkdir(exist_ok=True)
    (tmp_path / "context/link").symlink_to(outside)
    (tmp_path / "context/up").symlink_to("../" * 20 + str(outside)[1:])
    for source in ("link", "up", "link/sub", "up/file"):
        for mode in ("ro", "rw"):
            err = build(f"RUN --mount=source={source},target=/m,{mode} ls /m; cat /m", code=1).err
            assert "passwd" not in err and "of the host" not in err
    err = build("RUN --mount=type=bind,source=.,target=/m,rw,bind-propagation=shared true", code=2).err
    assert "bind-propagation" in err


def test_cve_2024_11218_what_a_bind_of_the_context_has_written_is_not_in_it(build, context, tmp_path):
    """rw is on a layer of its own: not the user's folder, whatever is written, removed, or linked there."""
    done = build(
        "RUN --mount=target=/m,rw rm -rf /m/a && ln -s / /m/a && echo x > /m/new && chmod 777 /m",
        "RUN --mount=target=/m ls /m",
        a="content\n",
    )
    assert "#3 new" not in done.err
    assert sorted(os.listdir(tmp_path / "context")) == ["Dockerfile", "a"]
    assert (tmp_path / "context/a").read_text() == "content\n"


# Opens what it is named, with the group that its file gives it.
READER = """#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(int count, char **names) {
    if (count == 2 && getegid() != getgid()) return open(names[1], O_RDONLY) < 0 ? printf("refused\\n") < 0 : printf("open\\n") < 0;
    return 9;
}
"""
# A file for everybody but one group, and a program by which that group, were it the user's first alone, would be put down.
DENIED = (
    "COPY --chown=0:100 --chmod=604 denied /denied",
    "COPY --chown=0:300 --chmod=2755 reader /reader",
    "USER user",
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    (folder / "reader.c").write_text(READER)
    subprocess.run(["gcc", "-static", "-O1", "-o", folder / "reader", folder / "reader.c"], check=True)
    return (folder / "reader").read_bytes()


@pytest.mark.peers("gcc", "umoci")
def test_cve_2022_2989_a_container_cannot_put_down_its_user_s_group(build, pybuild, reader):
    """Podman's: the first group was not among the others, so that a program with a group of its own got around it."""
    build(*DENIED, reader=reader, denied="for all others\n")
    for options in ((), ("-u", "user"), ("-u", "1000:100")):
        assert pybuild("run", *options, "t", "/reader", "/denied").out == "refused\n"
    # The attack itself is one, where the group is not the user's.
    assert pybuild("run", "-u", "1000:55", "t", "/reader", "/denied").out == "open\n"


@pytest.mark.peers("gcc", "umoci")
def test_cve_2022_2990_a_run_cannot_put_down_its_user_s_group(build, reader):
    """Buildah's: the same in a RUN."""
    done = build(*DENIED, "RUN /reader /denied", "USER 1000:55", "RUN /reader /denied", reader=reader, denied="for all others\n")
    said = [line.split()[-1] for line in done.err.splitlines() if line.endswith((" refused", " open"))]
    assert said == ["refused", "open"], done.err


ESCAPES = {
    "link": (entry("d", tarfile.SYMTYPE, "OUTSIDE"), entry("d/evil"), entry("d/sub/evil")),
    "link-up": (entry("d", tarfile.SYMTYPE, "../../../../../../../../..OUTSIDE"), entry("d/evil")),
    "link-twice": (entry("a", tarfile.SYMTYPE, "OUTSIDE"), entry("a", tarfile.DIRTYPE), entry("a/evil")),
    "hard-link": (entry("x", tarfile.LNKTYPE, "OUTSIDE/file"), entry("x")),
    "hard-link-by-link": (entry("d", tarfile.SYMTYPE, "OUTSIDE"), entry("x", tarfile.LNKTYPE, "d/file"), entry("x")),
    "up": (entry("../../../../../../../../../../OUTSIDE/evil"),),
    "absolute": (entry("OUTSIDE/evil"),),
    "over-a-link": (entry("x", tarfile.SYMTYPE, "OUTSIDE/file"), entry("x")),
    "whiteout": (entry("d", tarfile.SYMTYPE, "OUTSIDE"), entry("d/.wh.file", content=b""), entry("d/.wh..wh..opq", content=b"")),
    "whiteout-up": (entry(".wh...", content=b""), entry("a/.wh...", content=b""), entry(".wh..", content=b"")),
}


def aimed(entries, outside):
    found = []
    for info, content in entries:
        copy = tarfile.TarInfo(info.name.replace("OUTSIDE", str(outside)))
        copy.type, copy.mode, copy.linkname = info.type, info.mode, info.linkname.replace("OUTSIDE", str(outside))
        found.append((copy, content))
    return found


@pytest.mark.parametrize("name", ESCAPES)
def test_links_and_whiteouts_of_an_archive_lead_nowhere_outside(build, outside, tmp_path, name):
    content = hostile(tmp_path, "evil.tar", *aimed(ESCAPES[name], outside)).read_bytes()
    done = build(
        "ADD evil.tar /in/",
        "RUN ls -laR /in | head -40",
        options=("-o", f"type=local,dest={tmp_path}/out"),
        code=None,
        evil_tar=content,
        **{"evil.tar": content},
    )
    assert "Traceback" not in done.err


@pytest.mark.damaged
@pytest.mark.slow
@pytest.mark.parametrize("name", ESCAPES)
def test_links_and_whiteouts_of_a_layer_lead_nowhere_outside(build, pybuild, outside, ubuntu, tmp_path, name):
    """A base image with such a layer: under a RUN, under a COPY, unpacked, and run."""
    layout = tmp_path / "layout"
    shutil.copytree(ubuntu, layout)
    path = hostile(tmp_path, "evil.tar", *aimed(ESCAPES[name], outside))
    subprocess.run(["umoci", "raw", "add-layer", "--image", f"{layout}:latest", path], check=True, capture_output=True)
    for lines in (("RUN ls /",), ("COPY a /d/copied", "COPY a /x"), ("WORKDIR /d/made",)):
        build(*lines, base=layout, options=("-o", f"type=local,dest={tmp_path}/out"), code=None, a="content\n")
    pybuild("run", "t", "true", code=None)


def test_decompression_bombs_are_given_up(build, pybuild, context, tmp_path, monkeypatch):
    """As an archive of ADD and as a layer of a base."""
    monkeypatch.setenv("PYBUILD_UNPACK_LIMIT", "16m")
    bomb = gzip.compress(hostile(tmp_path, "bomb.tar", entry("zeros", content=bytes(64 << 20))).read_bytes())
    err = build("ADD bomb.tar.gz /in/", code=1, **{"bomb.tar.gz": bomb}).err
    assert "taken for an attack" in err and "PYBUILD_UNPACK_LIMIT=off" in err
    folder = context("FROM ubuntu\nCOPY zeros /zeros\n", zeros=bytes(64 << 20))
    build("COPY zeros /zeros", options=("--compression", "zstd", "-t", "bomb:1"), zeros=bytes(64 << 20))
    (folder / "Dockerfile").write_text("FROM bomb:1\nRUN true\n")
    assert "taken for an attack" in pybuild("build", folder, code=1).err
    monkeypatch.setenv("PYBUILD_UNPACK_LIMIT", "off")
    pybuild("build", folder)


def test_no_device_is_made_for_an_ordinary_user(tmp_path):
    """Extraction without privilege: a node of a layer would be the host's disk. It is left out, and its layer stays as it is."""
    from pybuild.builder.layers.ownership import make_device

    tmp_path.chmod(0o777)
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(tmp_path)
            place = os.open(".", os.O_RDONLY)
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os._exit(0 if not make_device("disk", stat.S_IFBLK, (8, 0), dir_fd=place) else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert os.listdir(tmp_path) == []
