"""What a command or an image may leave to trip whoever builds with it: each build ends, with a word that says why, and so does the next."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest
from real.command import COMMAND

from pybuild.builder.layers.extraction import index
from pybuild.builder.workspace import remove
from pybuild.registry import Store

pytestmark = pytest.mark.root

# Directories in directories, as no shell makes them.
DEEP = """#include <sys/stat.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words)
{
    for (int left = atoi(words[1]); left > 0; left--)
        if (mkdir("d", 0755) || chdir("d"))
            return 1;
    return 0;
}
"""
# Numbers of a device that every kernel has and no command may open: kmsg.
KMSG = "c 1 11"


@pytest.fixture
def arguments(pybuild, ubuntu, context):
    def make(*instructions, options=(), **files):
        folder = context("\n".join(("FROM ubuntu", *instructions, "")), **files)
        return ("build", "--progress", "plain", "-t", "t", "--build-context", f"ubuntu=oci-layout://{ubuntu}", *options, folder)

    return make


@pytest.fixture
def build(pybuild, arguments):
    def run(*instructions, code=0, options=(), **files):
        return pybuild(*arguments(*instructions, options=options, **files), code=code).err

    return run


@pytest.fixture
def deep(tmp_path, root):
    (tmp_path / "deep.c").write_text(DEEP)
    subprocess.run(["gcc", "-static", "-O1", "-o", tmp_path / "deep", tmp_path / "deep.c"], check=True)
    yield (tmp_path / "deep").read_bytes()
    # pytest itself does not go so deep.
    remove(str(root))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("truncate -s 100G /etc/passwd", "/etc/passwd of the image has 107374182400 bytes"),
        ("rm /etc/passwd && mkfifo /etc/passwd", "no user 'user'"),
        ("rm /etc/passwd && mknod /etc/passwd c 1 5", "no user 'user'"),
        ("rm /etc/passwd && mkdir /etc/passwd", "no user 'user'"),
        ("rm /etc/passwd && ln -s passwd /etc/passwd", "too many symbolic links"),
        ("echo user:x:4294967295:0::/: > /etc/passwd", "not a user or group id: '4294967295'"),
    ],
)
def test_accounts_that_are_none(build, command, said):
    for isolation in ("auto", "chroot"):
        assert said in build(f"RUN {command}", "USER user", "RUN id", code=None, options=("--isolation", isolation))


def test_what_is_provided_goes_nowhere_but_to_a_file_of_the_image(build, root):
    """Not where a name means another file once /proc is mounted, nor over a device, nor below a file."""
    links = {"resolv.conf": "/proc/self/root/etc/passwd", "hosts": "/dev/null", "hostname": "/nowhere/deep/hostname"}
    made = " && ".join(f"ln -s {target} /x/{name}" for name, target in links.items())
    said = build(
        f"RUN mkdir /x && {made}",
        "FROM ubuntu",
        "COPY --from=0 /x/ /etc/",
        "RUN cat /etc/resolv.conf | head -1; cat /etc/hostname; echo x > /dev/null && cat /dev/null; echo a''nd done",
    )
    assert " root:x:0:0:root:/root:/bin/sh\n" in said and " pybuild\n" in said and " and done\n" in said
    store = Store.open(root)
    image = store.find("t")
    assert list(index(image.manifest.layers[-1], store, image.config.diff_ids[-1])) == []
    assert "done" in build(
        "RUN mkdir /x && touch /x/etc", "FROM scratch", "COPY --from=ubuntu /bin /bin", "COPY --from=0 /x /", "RUN echo done"
    )


@pytest.mark.slow
def test_directories_that_lie_deep(build, deep, root):
    copy = "COPY --chmod=755 deep /bin/"
    for isolation in ("auto", "chroot"):
        said = build(copy, "RUN deep 5000", code=1, options=("--isolation", isolation, "--no-cache"), deep=deep)
        assert "longer than 4096 bytes" in said and ":3:1" in said
    # As deep as they may be, they are a layer as any other, and what was too deep is gone.
    said = build(
        copy, "RUN deep 700", "RUN touch /d/d/f && mv /d /e", "FROM ubuntu", "COPY --from=0 /e /e", "RUN find /e | wc -l"
    )
    assert " 701\n" in said
    assert os.listdir(root / "tmp") == []


def test_an_archive_whose_directories_lie_deep(build, pybuild, tmp_path, root):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("d/" * 1200 + "f"))
    try:
        assert " 1202\n" in build("ADD deep.tar /x/", "RUN find /x | wc -l", deep_dot_tar=buffer.getvalue())
        assert "no fault" in pybuild("store", "verify").out
    finally:
        remove(str(root))


def test_a_line_without_an_end(build):
    said = build("RUN head -c 5000000 /dev/zero | tr '\\0' a; echo; echo end")
    assert said.count("a") > 5_000_000 and max(map(len, said.split("\n"))) < 100_000 and " end\n" in said


def test_output_drives_no_terminal(build):
    script = r"RUN printf '\033[2Jwiped \033]0;title\007 \033[31mred\n'; printf '#9 DONE\rreal\n'; exit 3"
    said = build(script, code=3)
    shown = [line for line in said.split("\n") if "\033" in line or "real" in line]
    # In the output of the step, and once more in the error.
    assert [line.removeprefix("#2 ") for line in shown if "printf" not in line] == ["wiped  \033[31mred\033[0m", "real"] * 2


def test_what_a_command_leaves_behind_ends_with_it(build):
    """Stopped, deaf to signals, in a session of its own, with the step's output in its hands: none of it is waited for."""
    script = "trap '' TERM HUP INT; kill -STOP $$; setsid sleep 76541 & sleep 76541 & echo a''ll"
    assert " all\n" in build(f"RUN {script}")
    assert "sleep 76541" not in subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout


# Opened by whoever may: kmsg takes a capability, too.
TUN = "c 10 200"
DEVICES = f"""RUN mknod /tun {TUN} && mknod /null c 1 3 && echo x > /null && ! true < /tun
RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --mount=target=/b,rw \
    for place in / /c /t /dev /dev/shm /b; do mknod $place/k {TUN} && ! true < $place/k || exit 1; done
RUN ! true < /tun && echo x > /null && echo x > /dev/null && echo f''enced
RUN --security=insecure true < /tun && echo o''pen"""
ALLOWED = ("--allow", "security.insecure")


@pytest.mark.parametrize("hidden", ["", "umount /sys/fs/cgroup/devices", "mount -t tmpfs tmpfs /sys/fs/cgroup"])
def test_no_node_opens_a_device_of_the_machine(arguments, root, hidden):
    """By a group of version 1, by one of version 2 whose program is asked, or without groups by mounts that have no devices."""
    # Without a group there is no device to open at all, but those of /dev.
    script = DEVICES if "tmpfs" not in hidden else DEVICES.replace("echo x > /null &&", "")
    command = shlex.join(map(str, (*COMMAND, "--root", root, *arguments(*script.split("\n"), options=ALLOWED))))
    wrapped = f"{hidden or ':'}; exec {command}"
    done = subprocess.run(["unshare", "-m", "sh", "-c", wrapped], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and " fenced\n" in done.stderr and " open\n" in done.stderr, done.stderr
    assert left_groups() == []


def left_groups() -> list[str]:
    """Groups that nobody is in; others may be at work here too."""
    found = [where for where, _, _ in os.walk("/sys/fs/cgroup") if "/pybuild-" in where]
    return [where for where in found if os.path.exists(where) and not Path(where, "cgroup.procs").read_text()]


def test_a_base_s_device_is_not_opened_by_run_either(build, pybuild):
    build(f"RUN mknod /kmsg {KMSG}")
    assert pybuild("run", "t", "head", "-c", "1", "/kmsg", code=1).err == "head: /kmsg: Operation not permitted\n"


def test_who_runs_a_command_is_out_of_its_reach(build):
    """Not to be seen among processes, nor in what pid 1 was started with."""
    script = "ls /proc | grep -c '^[0-9]'; cat /proc/1/environ | tr '\\0' ' '; ls -l /proc/1/ | grep '[-]>'; cat /proc/1/cmdline"
    said = build(f'RUN sh -c "{script}"; true', "RUN touch /here; ls /proc/1/root/ /proc/1/cwd/ | grep -c here")
    assert " 2\n" in said
    assert "PYBUILD" not in said and "python" not in said
