"""RUN as an ordinary user: in a user namespace, with a range of ids or with one; and the same layers as root makes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time

import pytest
from real.command import COMMAND
from real.faulty_registry import faulty_registry
from real.ordinary_user import UID, as_user, run_as_user

from pybuild.registry import Manifest

pytestmark = [pytest.mark.root, pytest.mark.peers("umoci", "newuidmap"), pytest.mark.slow]

OWNERS = """FROM ubuntu
COPY --chown=7:8 Dockerfile /given
RUN touch /a /b && chown 1000:100 /a && chown 8:42 /b && chmod 600 /b && mkdir -m 700 /p && echo y > /p/y && chown -R 33:33 /p
RUN rm -r /p/y && chmod 4755 /a && ln /b /c && mv /p /q && rm -r /tmp && mkdir -m 1777 /tmp
USER user
RUN id > /tmp/id; cat /b > /dev/null || echo no > /tmp/no
"""


@pytest.fixture
def user(home, ubuntu):
    """Run pybuild as the user; its exit code and what it says."""
    shutil.copytree(ubuntu, home / "ubuntu")
    subprocess.run(["chown", "-R", str(UID), home / "ubuntu"], check=True)

    def run(*arguments, **values):
        done = run_as_user(home, *COMMAND, "--root", home / "store", *arguments, **values)
        assert "Traceback" not in done.stdout
        return done.returncode, done.stdout

    return run


@pytest.fixture
def build(user, home):
    def run(dockerfile, *options, code=0, **values):
        (home / "context").mkdir(exist_ok=True)
        (home / "context/Dockerfile").write_text(dockerfile)
        base = f"ubuntu=oci-layout://{home}/ubuntu"
        command = ("build", "--progress", "plain", "-t", "own", "--timestamp", "1600000000", "--build-context", base, *options)
        found, said = user(*command, home / "context", **values)
        assert found == code, said
        return said

    return run


def running(text: str) -> list[str]:
    """The command lines of the processes that have this in it."""
    done = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if text in line]


def image_id(inspected: str) -> str:
    return json.loads(inspected)[0]["Id"]


def test_the_image_is_the_one_that_root_makes(build, user, home, pybuild, ubuntu):
    build(OWNERS)
    options = ("-t", "own", "--timestamp", "1600000000", "--build-context", f"ubuntu=oci-layout://{ubuntu}")
    pybuild("build", *options, home / "context")
    assert image_id(user("inspect", "own")[1]) == image_id(pybuild("inspect", "own").out)


def test_files_of_others_are_copied_from_a_stage(build, user):
    said = build(
        "FROM ubuntu AS made\nRUN mkdir -m 700 /p && echo y > /p/y && chmod 600 /p/y && chown -R 33:34 /p\n"
        "FROM ubuntu\nCOPY --from=made /p /q\nRUN stat -c %u:%g:%a /q /q/y && cat /q/y\n"
    )
    # The directory that a source names is not copied itself.
    assert "0:0:755" in said and "33:34:600" in said
    # And out of what is known of an earlier build.
    build(
        "FROM ubuntu AS made\nRUN mkdir -m 700 /p && echo y > /p/y && chmod 600 /p/y && chown -R 33:34 /p\n"
        "FROM ubuntu\nCOPY --from=made /p /r\n"
    )
    assert user("run", "own", "stat", "-c", "%u:%g", "/r/y")[1] == "33:34\n"


def test_no_file_is_left_that_the_user_cannot_remove(build, user, home):
    build("FROM ubuntu\nRUN mkdir -m 700 /p && touch /p/y && chown -R 33:33 /p\n")
    assert not os.listdir(home / "store/tmp")
    assert [path.stat().st_uid for path in (home / "store/trees").glob("*/p")] == [700032]
    assert user("rmi", "own")[0] == 0
    assert not list((home / "store/trees").glob("*/p"))


def test_the_store_is_looked_through_as_who_may_read_it(build, user):
    build("FROM ubuntu\nRUN mkdir -m 700 /p && echo x > /p/y && chmod 600 /p/y && chown -R 33:33 /p\n")
    code, said = user("store", "verify")
    assert code == 0 and "no fault" in said
    assert user("system", "df")[0] == 0


def test_run_passes_on_the_exit_code(build, user):
    build("FROM ubuntu\nRUN echo content > /file\n")
    assert user("run", "own", "sh", "-c", "cat /file; id -u; exit 9") == (9, "content\n0\n")


def test_few_processes_are_said_and_cost_no_isolation(build, home):
    """ulimit -u, from too few for a build to enough for one: none waits without end, and none is kept apart by less."""
    build("FROM ubuntu\nRUN true\n")
    codes = []
    for most in (3, *range(7, 17), 40):
        (home / "context/Dockerfile").write_text(f"FROM ubuntu\nRUN id\nRUN echo {most}\n")
        command = (*COMMAND, "--root", home / "store", "build", "--progress", "plain", "--build-context")
        arguments = (*command, f"ubuntu=oci-layout://{home}/ubuntu", home / "context")
        done = subprocess.run(
            as_user(home, "prlimit", f"--nproc={most}", *arguments),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert "by chroot" not in done.stderr and "a mistake" not in done.stderr, (most, done.stderr)
        assert "Traceback" not in done.stderr, (most, done.stderr)
        codes.append(done.returncode)
    assert codes[0] == 1 and codes[-1] == 0, codes


@pytest.mark.parametrize("isolation", ["auto", "chroot"])
def test_how_children_end_may_be_ignored_by_whoever_starts_a_build(build, home, isolation):
    build("FROM ubuntu\nRUN true\n")
    options = ("build", "--no-cache", "--isolation", isolation, "--build-context", f"ubuntu=oci-layout://{home}/ubuntu")
    command = ("env", "--ignore-signal=CHLD", *COMMAND, "--root", home / "store", *options, home / "context")
    done = run_as_user(home, *command)
    assert done.returncode == 0, done.stdout


def test_with_one_id_a_build_works_and_says_what_is_missing(build, user):
    said = build("FROM ubuntu\nRUN id -u && touch /f && rm -r /tmp && mkdir /tmp\n", has_range=False)
    assert "no range in /etc/subuid" in said and "usermod --add-subuids" in said
    said = build("FROM ubuntu\nRUN touch /f && chown 1000 /f\n", code=1, has_range=False)
    assert "usermod --add-subuids" in said.rpartition("hint:")[2]
    said = build("FROM ubuntu\nUSER user\nRUN id\n", code=125, has_range=False)
    assert "usermod --add-subuids" in said.rpartition("hint:")[2]


def test_a_failing_step_says_its_code_as_ever(build):
    said = build("FROM ubuntu\nRUN echo told; exit 3\n", code=3)
    assert "told" in said and "exit code 3" in said and ":2:1" in said


def test_ctrl_c_and_kill_9_leave_nothing(build, user, home):
    (home / "context").mkdir()
    (home / "context/Dockerfile").write_text("FROM ubuntu\nRUN mkdir /p && chown 5 /p && echo ready && sleep 65433\n")
    arguments = ("build", "--progress", "plain", "--build-context", f"ubuntu=oci-layout://{home}/ubuntu", home / "context")
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        command = as_user(home, *COMMAND, "--root", home / "store", *arguments)
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert any("ready" in line and "echo" not in line for line in process.stderr)
            process.send_signal(number)
            process.stderr.read()
            assert process.wait() == code
        # The kernel ends what is in a process namespace by and by.
        end = time.monotonic() + 10
        while (left := running("sleep 65433")) and time.monotonic() < end:
            pass
        assert not left
    build("FROM ubuntu\nRUN true\n")
    assert not os.listdir(home / "store/tmp")


def test_an_archive_and_a_repository_are_contexts_of_an_ordinary_user_too(user, home, site):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("Dockerfile", b"FROM scratch\nCOPY . /\n"), ("d/f", b"F")):
            item = tarfile.TarInfo(name)
            item.size, item.uid, item.mode = len(content), 33, 0o640
            tar.addfile(item, io.BytesIO(content))
        item = tarfile.TarInfo("null")
        item.type, item.devmajor, item.devminor = tarfile.CHRTYPE, 1, 3
        tar.addfile(item)
    site.files["/x.tar"] = buffer.getvalue()
    (home / "context").mkdir(exist_ok=True)
    (home / "context/Dockerfile").write_text(f"FROM scratch\nADD {site.url}/git/r.git#v1 /r\nCOPY --from=g f /f\n")
    for arguments in ((f"{site.url}/x.tar",), ("--build-context", f"g={site.url}/git/r.git", home / "context")):
        code, said = user("build", "-q", *arguments)
        assert code == 0, said


MOUNTS = """FROM ubuntu AS other
RUN mkdir /d && echo of the stage > /d/f && chown -R 33:33 /d
FROM ubuntu
RUN --mount=from=other,source=/d,target=/m cat /m/f && stat -c %u:%g /m/f && ! touch /m/x
RUN --mount=from=other,source=/d,target=/m,rw echo more >> /m/f && cat /m/f
RUN --mount=target=/m ls /m && stat -c %u:%g /m/Dockerfile
RUN --mount=type=cache,target=/c,uid=33,gid=34 echo run >> /c/log && cat /c/log && stat -c %u:%g /c
RUN --mount=type=tmpfs,target=/t,size=1m df -k /t
RUN --mount=type=secret,id=s,uid=33,mode=0440 stat -c %u:%g:%a /run/secrets/s && wc -c < /run/secrets/s && ! echo x > /run/secrets/s
RUN echo $(cat /proc/net/route | wc -l) routes; ls -l /dev/null; cat /etc/resolv.conf
RUN --network=none cat /proc/net/route | wc -l
RUN cat /proc/self/status
"""


# Everybody's, as distributions have it; where this machine is stricter there is a node of our own.
TUN = "mkdir -p /dev/net; mknod $t/tun c 10 200 && chmod 666 $t/tun && mount --bind $t/tun /dev/net/tun"


def test_mounts_secrets_caches_and_a_network_of_its_own(build, home):
    (home / "secret").write_text("hunter2")
    os.chmod(home / "secret", 0o644)
    for count in (1, 2):
        said = build(MOUNTS, "--no-cache", "--secret", f"id=s,src={home}/secret", extra=TUN)
        assert said.count("#7 run\n") == count
    for text in ("of the stage\n", "33:33\n", "more\n", "0:0\n", "33:34\n", " 1024 ", "33:0:440\n", "7\n", "Seccomp:\t2"):
        assert text in said, text
    assert "3 routes" in said or "2 routes" in said
    assert "nameserver 169.254.1.1" in said or "nameserver 10.0.2.3" in said
    found = subprocess.run(["grep", "-rl", "hunter2", home / "store"], capture_output=True, check=False)
    assert found.stdout == b""


def test_without_a_tun_device_the_network_is_the_machine_s(build):
    strict = TUN.replace("666", "600")
    said = build("FROM ubuntu\nRUN readlink /proc/self/ns/net\nRUN true\n", extra=strict)
    assert os.readlink("/proc/self/ns/net") in said
    assert said.count("/dev/net/tun") == 1


def test_a_shell_in_what_has_failed(build):
    said = build("FROM ubuntu\nRUN echo left > /x; exit 7\n", "--debug-on-error", code=7, typed="cat /x; id -u\n")
    assert "left\n0\n" in said


def test_caches_with_files_of_others_are_pruned(build, user, home):
    build("FROM ubuntu\nRUN --mount=type=cache,target=/c mkdir -m 700 /c/d && touch /c/d/f && chown -R 33:33 /c/d\n")
    assert len(os.listdir(home / "store/caches")) == 1
    assert "c-" in user("system", "df", "-v")[1]
    assert user("prune", "--all")[0] == 0
    assert os.listdir(home / "store/caches") == []


def test_a_large_layer_goes_to_the_registry_while_the_child_packs_it(user, home):
    """What it is written to is the user's own file, whoever is root in the child."""
    (home / "context").mkdir()
    (home / "context/Dockerfile").write_text("FROM ubuntu\nRUN head -c 60000000 /dev/urandom > /big\n")
    base = f"ubuntu=oci-layout://{home}/ubuntu"
    with faulty_registry() as faulty:
        code, said = user("build", "-t", f"{faulty.host}/own:1", "--push", "--build-context", base, home / "context")
        assert code == 0, said
        layer = Manifest.parse(*faulty.manifests["own", "1"], "own").layers[-1]
        assert len(faulty.blobs[layer.digest]) == layer.size and not faulty.sessions
        pieces = [headers["Content-Range"] for headers in faulty.headers if "Content-Range" in headers]
        assert pieces and not pieces[0].endswith(f"-{layer.size - 1}"), "it did not wait for the layer's end"
