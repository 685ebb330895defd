"""RUN --mount where there are no mounts: what stands in for them is there while the command runs, and then where it belongs."""

from __future__ import annotations

import os
import socket

import pytest

pytestmark = pytest.mark.root


@pytest.fixture
def build(pybuild, ubuntu, context):
    def run(*instructions, options=(), code=0, **files):
        folder = context("\n".join(("FROM ubuntu AS made", *instructions, "")), **files)
        base = ("--build-context", f"ubuntu=oci-layout://{ubuntu}")
        return pybuild("build", "--progress", "plain", "--isolation", "chroot", "-t", "t", *base, *options, folder, code=code).err

    return run


MOUNTS = (
    "RUN mkdir -p /d/sub /image && echo of the stage > /d/sub/f && chown 33:34 /d/sub/f && echo of the image > /image/f && ln -s d/sub /l",
    "FROM made",
    "RUN --mount=from=made,source=/l,target=/new/m cat /new/m/f && stat -c %u:%g /new/m/f",
    "RUN --mount=from=made,source=/d/sub/f,target=/image/f,rw cat /image/f && echo more >> /image/f",
    "RUN --mount=target=/image ls /image && touch /image/x",
    "RUN --mount=target=/link/m ls /link/m && ls /image/m",
    "RUN --mount=type=tmpfs,target=/image touch /image/gone && ls /image",
    "RUN --mount=type=secret,id=s,uid=33,mode=0440 stat -c %u:%g:%a /run/secrets/s && wc -c < /run/secrets/s",
    "RUN --mount=type=secret,id=s,target=/image/f,env=S wc -c < /image/f",
    "RUN ls -R /image /new /run /link/ 2>&1; cat /image/f",
)


def test_what_is_mounted_is_there_and_then_what_was_there_before(build, pybuild, root, tmp_path):
    (tmp_path / "secret").write_text("hunter2")
    lines = list(MOUNTS)
    lines.insert(1, "RUN ln -s /image /link")
    said = build(*lines, options=("--secret", f"id=s,src={tmp_path}/secret"))
    for text in (" of the stage\n", " 33:34\n", " Dockerfile\n", " gone\n", " 33:0:440\n", " 7\n"):
        assert text in said, text
    last = said[said.rindex("cat /image/f\n") :]
    assert "of the image\n" in last and "more" not in last and "gone" not in last and "/new/m" not in last
    assert "No such file" in last.replace("/new", "")
    # No layer has anything of it.
    assert pybuild("run", "t", "sh", "-c", "ls -A /image; ls -d /new /run; cat /image/f", code=None).out == "f\nof the image\n"
    assert os.listdir(root / "tmp") == []
    assert not [path for path in root.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_a_cache_comes_back(build, root):
    count = "RUN --mount=type=cache,target=/c,uid=33 echo run >> /c/log && wc -l < /c/log"
    assert " 1\n" in build(count)
    # Two at once take turns; one that fails gives it back as well.
    failing = "RUN --mount=type=cache,target=/c,uid=33 echo run >> /c/log; exit 4"
    build(failing, code=4)
    options = ("--no-cache",)
    assert " 3\n" in build(count, options=options)
    both = (count, "FROM ubuntu", f"{count} && true", "FROM ubuntu", "COPY --from=0 /bin/sh /a", "COPY --from=1 /bin/sh /b")
    said = build(*both, options=options)
    assert " 4\n" in said and " 5\n" in said
    assert [name.rpartition("-")[0] for name in os.listdir(root / "caches")] == ["c"]


def test_a_cache_that_became_a_link_does_not_come_back(build, root, tmp_path):
    """A link in its place would be followed by whoever uses it next: it is a new one then."""
    (tmp_path / "outside").mkdir()
    build(f"RUN --mount=type=cache,target=/c rm -r /c && ln -s {tmp_path}/outside /c")
    assert os.listdir(root / "caches") == []
    build("RUN --mount=type=cache,target=/c touch /c/x", options=("--no-cache",))
    assert os.listdir(tmp_path / "outside") == []


def test_an_agent_is_reached(build, short, root):
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{short}/agent")
        agent.listen()
        said = build("RUN --mount=type=ssh ls -l $SSH_AUTH_SOCK", options=("--ssh", f"default={short}/agent"))
    assert "srw-------" in said and os.listdir(root / "tmp") == []


def test_a_program_in_a_here_document(build):
    assert " out of it\n" in build("RUN <<X\n#!/bin/cat\n out of it\nX")
