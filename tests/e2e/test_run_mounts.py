"""RUN --mount from the command line: what a step sees, what is kept, and that what must not be anywhere is nowhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
SECRET = "hunter2-0451-correct-horse"


@pytest.fixture
def build(pybuild, ubuntu, context):
    """Build these instructions over a base with a shell, in a context with these files."""

    def run(*instructions, options=(), code=0, head="FROM ubuntu", **files):
        folder = context("\n".join((head, *instructions, "")), **files)
        return pybuild(
            "build",
            "--progress",
            "plain",
            "-t",
            "t",
            "--build-context",
            f"ubuntu=oci-layout://{ubuntu}",
            *options,
            folder,
            code=code,
        )

    return run


def names(root: Path) -> list[str]:
    """What the layers have that were made here, over those of the base."""
    import tarfile

    from pybuild.registry import Store

    store = Store.open(root)
    found = []
    for layer in store.find("t").manifest.layers[1:]:
        with tarfile.open(store.path(layer.digest)) as archive:
            found += archive.getnames()
    return found


def test_a_bind_of_a_stage(build, root):
    done = build(
        "RUN --mount=from=other,source=/out,target=/m cat /m/file && ! touch /m/x",
        "RUN --mount=from=other,source=/out/file,target=/file,rw echo more >> /file && cat /file",
        "RUN --mount=from=other,target=/whole cat /whole/out/file && ls /whole/bin/sh",
        head="FROM ubuntu AS other\nRUN mkdir /out && echo content > /out/file\nFROM ubuntu",
    )
    assert done.err.count("content\n") == 3 and "more\n" in done.err
    assert names(root) == []


def test_a_bind_of_a_stage_that_only_copies(build):
    done = build(
        "RUN --mount=from=other,target=/m cat /m/a /m/b",
        head="FROM scratch AS other\nCOPY a /a\nCOPY b /\nFROM ubuntu",
        a="first\n",
        b="second\n",
    )
    assert "first\n" in done.err and "second\n" in done.err


def test_a_bind_of_the_context(build, root, context):
    folder = context("")
    (folder / "link").symlink_to("sub")
    done = build(
        "RUN --mount=target=/m cat /m/a /m/sub/b; stat -c '%u %g' /m/a; ls -A /m; touch /m/x || true",
        "RUN --mount=source=sub,target=m/deep,rw echo x > m/deep/new && ls m/deep",
        "RUN --mount=source=/sub/b,target=/single cat /single",
        "RUN --mount=source=/link,target=/link cat /link/b",
        a="of a\n",
        sub__b="of b\n",
        secret="no",
        _dot_dockerignore="secret\n",
    )
    assert done.err.count("of b\n") == 3 and "0 0\n" in done.err
    assert "secret" not in done.err and "Read-only file system" in done.err
    assert names(root) == []


def test_a_bind_of_an_image_and_of_a_named_context(build, ubuntu, tmp_path):
    (tmp_path / "named").mkdir()
    (tmp_path / "named/file").write_text("of the named\n")
    done = build(
        "RUN --mount=from=ubuntu,source=/etc/passwd,target=/p cat /p",
        "RUN --mount=from=named,target=/n cat /n/file",
        options=("--build-context", f"named={tmp_path}/named"),
    )
    assert "user:x:1000" in done.err and "of the named\n" in done.err


def test_what_a_bind_reads_decides_whether_a_step_is_done_anew(build):
    lines = ("RUN --mount=source=a,target=/a cat /a",)
    build(*lines, a="1\n", b="1\n")
    assert "CACHED" in build(*lines, a="1\n", b="2\n").err
    assert "CACHED" not in build(*lines, a="2\n", b="2\n").err


def test_a_source_that_is_not_there(build):
    err = build("RUN --mount=source=missing,target=/a true", code=1).err
    assert "missing" in err and ":2:" in err
    err = build("RUN --mount=from=other,source=/nope,target=/a true", head="FROM ubuntu AS other\nFROM ubuntu", code=1).err
    assert "/nope" in err and ":3:" in err


def test_a_source_that_is_not_in_a_cache(build):
    err = build("RUN --mount=type=cache,target=/c,source=/sub true", code=1).err
    assert "there is no /sub in the cache" in err and ":2:1" in err
    build("RUN --mount=type=cache,target=/c mkdir /c/sub", "RUN --mount=type=cache,target=/c,source=/sub touch /c/x")
    assert "/c/sub/x\n" in build("RUN --mount=type=cache,target=/c ls /c/sub/x").err
    err = build(
        "RUN --mount=type=cache,target=/d,from=other,source=/nope true", head="FROM ubuntu AS other\nFROM ubuntu", code=1
    ).err
    assert "there is no /nope in stage other" in err and ":3:" in err


def test_a_cache_is_kept_and_is_in_no_layer(build, root):
    for number in (1, 2, 3):
        done = build(f"RUN --mount=type=cache,target=/var/cache/x echo {number} >> /var/cache/x/log; cat /var/cache/x/log")
    assert done.err.count("#2 1\n") == done.err.count("#2 2\n") == done.err.count("#2 3\n") == 1
    assert names(root) == []
    assert [name.rpartition("-")[0] for name in os.listdir(root / "caches")] == ["var-cache-x"]


def test_a_cache_is_known_by_its_id(build):
    done = build(
        "RUN --mount=type=cache,id=one,target=/a touch /a/x",
        "RUN --mount=type=cache,id=one,target=/b ls /b/x",
        "RUN --mount=type=cache,id=two,target=/b ls -A /b | wc -l",
        "RUN --mount=type=cache,id=one,target=/b --mount=type=cache,id=one,target=/c,ro ls /c/x && ! touch /c/y",
    )
    assert "/b/x\n" in done.err and "#4 0\n" in done.err and "/c/x\n" in done.err


def test_a_cache_begins_with_a_directory_and_has_an_owner(build):
    done = build(
        "RUN --mount=type=cache,id=a,target=/a,from=other,source=/seed ls /a && echo more > /a/more",
        "RUN --mount=type=cache,id=a,target=/a,from=other,source=/seed ls /a/more",
        "RUN --mount=type=cache,id=f,target=/f,from=other,source=/seed/file cat /f && echo single",
        "RUN --mount=type=cache,id=b,target=/b,uid=1000,gid=100,mode=0700 stat -c '%u %g %a' /b",
        "USER user",
        "RUN --mount=type=cache,id=b,target=/b,uid=1000,gid=100,mode=0700 touch /b/mine",
        head="FROM ubuntu AS other\nRUN mkdir -p /seed && touch /seed/file\nFROM ubuntu",
    )
    assert "single\n" in done.err and "/a/more\n" in done.err and "1000 100 700\n" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(("sharing", "is_kept_apart"), [("locked", True), ("shared", False)])
def test_two_builds_at_once_and_one_cache(pybuild, ubuntu, tmp_path, sharing, is_kept_apart):
    """The first to come waits, with the cache, until it sees the other one: with `locked` it never does."""
    folders = []
    for number in (1, 2):
        folder = tmp_path / f"context{number}"
        folder.mkdir()
        script = f"touch /c/{number}; for i in $(seq 20); do [ $(ls /c | wc -l) = 2 ] && echo saw $((1 + 1)); sleep 0.1; done; rm /c/{number}"
        (folder / "Dockerfile").write_text(f"FROM ubuntu\nRUN --mount=type=cache,id=c,target=/c,sharing={sharing} {script}\n")
        folders.append(folder)
    results = []

    def build(folder):
        results.append(pybuild("build", "--progress", "plain", "--build-context", f"ubuntu=oci-layout://{ubuntu}", folder))

    threads = [threading.Thread(target=build, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ("saw 2" not in "".join(done.err for done in results)) is is_kept_apart


def test_memory(build, root):
    done = build("RUN --mount=type=tmpfs,target=/t,size=2m touch /t/x && df -k /t | tail -1")
    assert " 2048 " in done.err
    assert names(root) == []


def secrets(tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    return ("--secret", f"id=s,src={tmp_path}/secret")


def holders(*folders):
    """Files that have the secret, in plain or in what decompresses to it."""
    import gzip

    found = []
    for folder in folders:
        for path in (path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()):
            content = path.read_bytes()
            if content[:2] == b"\x1f\x8b":
                content = gzip.decompress(content)
            if SECRET.encode() in content or SECRET.encode().hex().encode() in content:
                found.append(path)
    return found


def test_a_secret_is_a_file_or_a_variable(build, tmp_path, monkeypatch):
    monkeypatch.setenv("OURS", SECRET)
    done = build(
        "RUN --mount=type=secret,id=s stat -c '%a %u %g' /run/secrets/s; wc -c < /run/secrets/s",
        "RUN --mount=type=secret,id=s,target=/x/y,mode=0444,uid=1000,gid=100 stat -c '%a %u %g' /x/y",
        "RUN --mount=type=secret,id=e,env=TOKEN echo ${#TOKEN}; [ ! -e /run/secrets ] && echo no file",
        "RUN --mount=type=secret,id=missing,env=UNSET,target=/run/secrets/m [ ! -e /run/secrets ] && echo nothing.${UNSET-unset}.",
        options=(*secrets(tmp_path), "--secret", "id=e,env=OURS"),
    )
    for line in ("400 0 0\n", "444 1000 100\n", f"{len(SECRET)}\n", "no file\n", "nothing..\n"):
        assert line in done.err


def test_a_secret_that_is_required(build, tmp_path):
    err = build("RUN --mount=type=secret,id=s,required true", code=1).err
    assert "the secret 's' is required" in err and "--secret id=s" in err and ":2:" in err
    err = build("RUN --mount=type=secret,id=s true", options=("--secret", f"id=s,src={tmp_path}/nowhere"), code=1).err
    assert "cannot read" in err


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["", " && exit 3"])
def test_a_secret_is_nowhere(build, pybuild, root, tmp_path, monkeypatch, ending):
    """Not in layers, history, keys, records, progress of any kind, messages, nor in what is left behind."""
    monkeypatch.setenv("PYBUILD_DEBUG", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    options = (*secrets(tmp_path), "-o", f"type=oci,dest={tmp_path}/out.tar", "--iidfile", tmp_path / "iid")
    lines = (
        'RUN --mount=type=secret,id=s,env=TOKEN,target=/s cp /s /dev/shm/x && [ -n "$TOKEN" ]',
        f"RUN --mount=type=secret,id=s --mount=type=cache,target=/c [ -s /run/secrets/s ]{ending}",
        "RUN --mount=type=secret,id=s,target=/etc/netrc,mode=0600 test -s /etc/netrc",
    )
    told = ""
    for progress in ("plain", "json", "quiet"):
        done = build(*lines, options=(*options, "--no-cache", "--progress", progress), code=3 if ending else 0)
        told += done.out + done.err
    if not ending:
        told += "".join(
            pybuild(*command).out for command in (("inspect", "t"), ("history", "--no-trunc", "t"), ("system", "df", "-v"))
        )
    assert SECRET not in told
    (tmp_path / "secret").unlink()
    assert holders(tmp_path) == []


def test_a_secret_of_another_value_is_no_other_step(build, tmp_path):
    lines = ("RUN --mount=type=secret,id=s test -s /run/secrets/s",)
    build(*lines, options=secrets(tmp_path))
    (tmp_path / "other").write_text("another")
    assert "CACHED" in build(*lines, options=("--secret", f"id=s,src={tmp_path}/other")).err


@pytest.mark.peers("ssh-agent", "ssh-add", "ssh-keygen")
def test_an_agent(build, root, tmp_path, short):
    """The command talks to the agent through its socket, as whoever it belongs to."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    # busybox has no ssh: SSH_AGENTC_REQUEST_IDENTITIES by hand, whose answer begins with the type 12 and the number of keys.
    ask = r"printf '\000\000\000\001\013' | nc local:$SSH_AUTH_SOCK | head -c 9 | od -An -tx1"
    done = build(
        f"RUN --mount=type=ssh echo $SSH_AUTH_SOCK; stat -c '%a %u' $SSH_AUTH_SOCK; {ask}",
        f"RUN --mount=type=ssh,id=default,target=/a/sock,mode=0666,uid=1000 echo $SSH_AUTH_SOCK; stat -c '%a %u' /a/sock; {ask}",
        "RUN --mount=type=ssh,id=other [ -n $SSH_AUTH_SOCK ] && [ ! -e $SSH_AUTH_SOCK ] && echo nobody",
        options=("--ssh", f"default={key}"),
    )
    for line in ("/run/buildkit/ssh_agent.0\n", "600 0\n", "/a/sock\n", "666 1000\n"):
        assert line in done.err
    assert "#4 nobody\n" in done.err
    assert names(root) == []
    err = build("RUN --mount=type=ssh,required true", code=1).err
    assert "the SSH agent 'default' is required" in err


def test_mount_points_leave_no_trace(build, root):
    build(
        "RUN --mount=type=cache,target=/new/cache --mount=type=tmpfs,target=/new/t --mount=type=secret,id=x"
        " --mount=from=ubuntu,source=/etc/passwd,target=/opt/p true",
        "RUN --mount=type=tmpfs,target=/etc touch /etc/x",
    )
    assert names(root) == []


def test_a_program_in_a_here_document(build):
    done = build("RUN <<EOF\n#!/bin/awk -f\nBEGIN { print 6 * 7 }\nEOF")
    assert "42\n" in done.err


def test_entitlements(build):
    for flag, name in (("--security=insecure", "security.insecure"), ("--network=host", "network.host")):
        err = build(f"RUN {flag} true", code=2).err
        assert f"{flag} is not allowed" in err and f"--allow {name}" in err and ":2:" in err
        build(f"RUN {flag} true", options=("--allow", name))
    build("RUN --network=host true", options=("--network", "host"))
    assert "there is no entitlement" in build("RUN true", options=("--allow", "everything"), code=2).err


def test_insecure_mounts_images_of_disks(build, tmp_path):
    """As BuildKit's own test of it does; also where the machine has its first loop devices in use."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    subprocess.run(["mke2fs", "-q", "-F", disk], check=True)
    taken = []
    try:
        for _ in range(9):
            command = ["losetup", "--show", "--find", disk]
            taken.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
        script = "mkdir /m && mount -o loop -t ext4 /disk /m && ls /m && umount /m"
        done = build(
            "RUN [ ! -e /dev/fuse ] && [ ! -e /dev/loop-control ]",
            "RUN --security=insecure [ -c /dev/fuse ] && [ -c /dev/loop-control ] && dmesg > /dev/null",
            "COPY disk /",
            f"RUN --security=insecure {script}",
            disk=disk.read_bytes(),
            options=("--allow", "security.insecure"),
        )
        assert "lost+found" in done.err
    finally:
        for device in taken:
            subprocess.run(["losetup", "--detach", device], check=True)


def test_insecure_is_for_the_step_alone(build):
    lines = (
        "RUN --security=insecure mount -t tmpfs x /tmp && mknod /tmp/x b 8 0 && echo mounted",
        "RUN mount -t tmpfs x /tmp || echo refused",
    )
    done = build(*lines, options=("--allow", "security.insecure"))
    assert "mounted\n" in done.err and "refused\n" in done.err


def test_networks(build):
    done = build(
        "RUN --network=none ip -o addr | cut -d' ' -f2",
        "RUN readlink /proc/self/ns/net",
        "RUN --network=host readlink /proc/self/ns/net; cat /etc/resolv.conf",
        options=("--allow", "network.host"),
    )
    assert "#2 lo\n" in done.err
    assert done.err.count(os.readlink("/proc/self/ns/net")) == 1


def test_without_a_network_stack_it_is_the_machine_s_and_said_once(build, monkeypatch, tmp_path):
    for name in ("python3", "umoci"):
        os.symlink(shutil.which(name), tmp_path / name)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = build("RUN readlink /proc/self/ns/net", "RUN true")
    assert os.readlink("/proc/self/ns/net") in done.err
    assert done.err.count("install pasta") == 1


def test_what_a_run_is_given(build):
    done = build(
        "RUN cat /etc/hosts; df -k /dev/shm | tail -1; ulimit -n; ulimit -Hn",
        options=(
            "--add-host",
            "one.example:10.1.2.3",
            "--add-host",
            "six=[fe80::1]",
            "--shm-size",
            "3m",
            "--ulimit",
            "nofile=321:654",
        ),
    )
    for text in ("10.1.2.3\tone.example\n", "fe80::1\tsix\n", " 3072 ", "#2 321\n", "#2 654\n"):
        assert text in done.err


def test_the_host_name_is_an_argument_of_the_build(build):
    name = ("--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=box-1.example")
    done = build('RUN echo "$(hostname) $HOSTNAME $(cat /etc/hostname)"; grep 127.0.1.1 /etc/hosts', options=name)
    assert "#2 box-1.example box-1.example box-1.example\n" in done.err
    assert "127.0.1.1\tbox-1.example\n" in done.err


def test_what_makes_no_sense_is_told(build):
    for options in (("--secret", "x"), ("--ssh", "="), ("--add-host", "x"), ("--shm-size", "much"), ("--ulimit", "x=1")):
        err = build("RUN true", options=options, code=2).err
        assert "Usage" in err or "error" in err.lower()


def test_json_progress_is_json(build, tmp_path):
    done = build("RUN --mount=type=secret,id=s test -s /run/secrets/s", options=(*secrets(tmp_path), "--progress", "json"))
    assert all(json.loads(line) for line in (done.out + done.err).splitlines())
    assert SECRET not in done.out + done.err
