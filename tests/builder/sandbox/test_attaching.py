"""What RUN --mount puts into a sandbox: read-only or not, where links lead, and that nothing of it stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from pybuild.builder.errors import SandboxError
from pybuild.builder.layers.changes import changes
from pybuild.builder.layers.index import MergedView, TreeView
from pybuild.builder.sandbox.folders import clear, make_overlay
from pybuild.builder.sandbox.spec import Attachment, Folder, Memory, Overlay, Secret
from pybuild.builder.steps.accounts import Account

pytestmark = pytest.mark.root


@pytest.fixture
def place(tmp_path):
    """A new empty directory."""
    count = iter(range(1000))

    def make() -> str:
        path = tmp_path / f"place{next(count)}"
        path.mkdir()
        return str(path)

    return make


@pytest.fixture
def folder(tmp_path):
    """A folder of the host's with something in it."""
    top = tmp_path / "folder"
    (top / "sub").mkdir(parents=True)
    (top / "file").write_text("content\n")
    (top / "sub/inner").write_text("inner\n")
    return top


def left(sandbox, upper, *above):
    """What a layer would have."""
    return [entry.path for entry in changes(str(upper), MergedView([TreeView(str(tree)) for tree in (*above, sandbox.lower)]))]


def test_a_folder_and_a_file_of_it(sandbox, folder, place):
    attachments = (
        Attachment("/new/place", Folder(str(folder), place())),
        Attachment("/new/single", Folder(str(folder), place()), "/sub/inner"),
        Attachment("/private/sub", Folder(str(folder), place()), "sub"),
    )
    script = "cat /new/place/file /new/single; ls /private/sub; echo x > /new/place/written; touch /new/own"
    code, output, upper = sandbox(script, attachments=attachments)
    assert (code, output) == (0, "content\ninner\ninner\n")
    assert (folder / "written").read_text() == "x\n"
    assert left(sandbox, upper) == ["new", "new/own"]


def test_what_is_read_only_is_so(sandbox, folder, place):
    attachments = (
        Attachment("/a", Folder(str(folder), place(), is_read_only=True)),
        Attachment("/b", Memory(is_read_only=True)),
        Attachment("/c", Overlay((str(folder), place(), place()), "", "", place())),
    )
    for name in "abc":
        code, output, _ = sandbox(f"touch /{name}/x", attachments=attachments)
        assert code != 0 and "ead-only" in output
    assert sandbox("cat /a/file /c/file", attachments=attachments)[1] == "content\ncontent\n"
    assert not (folder / "x").exists()


def test_what_is_written_into_an_overlay_is_not_in_what_lies_below(sandbox, folder, place):
    overlay = make_overlay(place(), (str(folder),))
    assert sandbox("rm /m/file && echo x > /m/new && ls /m", attachments=(Attachment("/m", overlay),))[1] == "new\nsub\n"
    assert sorted(os.listdir(folder)) == ["file", "sub"]


def test_a_secret_is_in_memory_with_its_mode_and_owner(sandbox, place, tmp_path):
    secret = Secret(b"hunter2", place(), 0o440, 1000, 100)
    script = "stat -c '%a %u %g' /run/secrets/x; cat /run/secrets/x; echo y > /run/secrets/x"
    code, output, upper = sandbox(script, attachments=(Attachment("/run/secrets/x", secret),))
    assert output.startswith("440 1000 100\nhunter2") and "ead-only" in output
    assert code != 0
    assert left(sandbox, upper) == []
    other = Secret(b"hunter2", place())
    line = next(line for line in sandbox("mount", attachments=(Attachment("/s", other),))[1].splitlines() if " /s " in line)
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(line.partition("(")[2].rstrip(")").split(","))
    found = subprocess.run(["grep", "-rl", "hunter2", tmp_path], capture_output=True, check=False)
    assert found.stdout == b""
    assert "hunter2" not in repr(secret)


def test_a_secret_of_root_s_is_not_a_user_s(sandbox, place):
    attachments = (Attachment("/run/secrets/x", Secret(b"hunter2", place())),)
    code, output, _ = sandbox("cat /run/secrets/x", attachments=attachments, account=Account(1000, 1000))
    assert code != 0 and "hunter2" not in output


def test_a_size_for_memory(sandbox):
    attachments = (Attachment("/m", Memory(1 << 20)),)
    assert sandbox("stat -f -c %b /m", attachments=attachments)[1] == "256\n"


def test_one_mount_in_another(sandbox, folder, place):
    attachments = (Attachment("/m", Memory()), Attachment("/m/deep/sub", Folder(str(folder), place(), is_read_only=True)))
    code, output, upper = sandbox("cat /m/deep/sub/file; touch /m/deep/x", attachments=attachments)
    assert (code, output) == (0, "content\n")
    assert left(sandbox, upper) == []


def test_links_of_the_image_lead_to_places_in_the_image(sandbox, folder, place, tmp_path):
    image = tmp_path / "image"
    image.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (image / "absolute").symlink_to(outside)
    (image / "up").symlink_to("../../../../../../../../" + str(outside)[1:])
    for name in ("absolute", "up"):
        attachments = (Attachment(f"/{name}/x", Folder(str(folder), place())),)
        code, output, upper = sandbox(f"cat {outside}/x/file", attachments=attachments, lowers=(image, sandbox.lower))
        assert (code, output) == (0, "content\n")
        assert left(sandbox, upper, image) == []
    assert os.listdir(outside) == []


def test_a_link_in_a_source_leads_nowhere_outside(sandbox, folder, place):
    (folder / "absolute").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("../../../../../../../../../../etc/passwd")
    (folder / "inside").symlink_to("/sub/inner")
    assert sandbox("cat /m", attachments=(Attachment("/m", Folder(str(folder), place()), "inside"),))[1] == "inner\n"
    for name in ("absolute", "up", "../../etc/passwd"):
        with pytest.raises(SandboxError, match="No such file"):
            sandbox("cat /m", attachments=(Attachment("/m", Folder(str(folder), place()), name),))


@pytest.mark.parametrize("target", ["/proc/self", "/proc/sys/kernel", "/proc", "/link/self"])
def test_nothing_is_mounted_in_proc(sandbox, target, tmp_path):
    image = tmp_path / "image"
    image.mkdir()
    (image / "link").symlink_to("/proc")
    with pytest.raises(SandboxError, match="nothing may be mounted in /proc"):
        sandbox("true", attachments=(Attachment(target, Memory()),), lowers=(image, sandbox.lower))


def test_kinds_that_do_not_fit(sandbox, folder, place):
    with pytest.raises(SandboxError, match="over a file: /bin/busybox"):
        sandbox("true", attachments=(Attachment("/bin/busybox", Memory()),))
    with pytest.raises(SandboxError, match="over a directory: /bin"):
        sandbox("true", attachments=(Attachment("/bin", Folder(str(folder), place()), "file"),))


SWAPPER = textwrap.dedent("""
    import ctypes, os, sys
    top, outside = sys.argv[1:]
    os.chdir(top)
    rename = ctypes.CDLL(None).renameat2
    os.symlink(outside, "link")
    print("ready", flush=True)
    while True:
        # RENAME_EXCHANGE: at any moment `sub` is one or the other.
        rename(-100, b"sub", -100, b"link", 2)
""")


@pytest.fixture
def swapped(folder, tmp_path):
    """A process that swaps folder/sub with a link to the host at every moment; what must stay untouched."""
    outside = tmp_path / "outside"
    (outside / "place").mkdir(parents=True)
    (outside / "inner").write_text("of the host\n")
    process = subprocess.Popen([sys.executable, "-c", SWAPPER, folder, outside], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    yield outside
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.slow
def test_cve_2024_23651_a_source_in_a_cache_that_is_swapped_for_a_link(sandbox, folder, place, swapped):
    """Also CVE-2024-9407, CVE-2024-9675: a cache or bind source that leads to the host."""
    seen = set()
    for _ in range(60):
        try:
            seen.add(sandbox("cat /m", attachments=(Attachment("/m", Folder(str(folder), place()), "sub/inner"),))[1])
        except SandboxError as error:
            seen.add(error.message.split(":")[1])
    assert "inner\n" in seen, seen
    assert "of the host\n" not in seen


@pytest.mark.slow
def test_cve_2024_23652_a_target_in_a_cache_that_is_swapped_for_a_link(sandbox, folder, place, swapped):
    """Also CVE-2024-11218: mount points that are made, or taken away again, on the host."""
    for _ in range(60):
        attachments = (Attachment("/c", Folder(str(folder), place())), Attachment("/c/sub/made", Memory()))
        try:
            sandbox("echo x > /c/sub/made/file", attachments=attachments)
        except SandboxError:
            continue
    assert sorted(path.name for path in swapped.rglob("*")) == ["inner", "place"]


def test_mount_points_are_taken_away_from_the_layer_alone(sandbox, tmp_path):
    """A command moves a directory with a mount point away, and leaves a link to the host in its place."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("hosts", "resolv.conf", "hostname"):
        (outside / name).touch()
    os.utime(outside, (1, 1))
    # Without an /etc of its own: what is below cannot be moved where no redirect_dir is.
    image = tmp_path / "image"
    shutil.copytree(sandbox.lower / "bin", image / "bin", symlinks=True)
    code, output, upper = sandbox(f"mv /etc /etc2 && ln -s {outside} /etc", lowers=(image,))
    assert (code, output) == (0, "")
    assert os.readlink(upper / "etc") == str(outside)
    assert sorted(os.listdir(outside)) == ["hostname", "hosts", "resolv.conf"]
    assert outside.stat().st_mtime == 1


def test_of_mount_points_those_go_that_hold_nothing(tmp_path):
    for name in ("made/inner", "made/used"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "made/file").touch()
    (tmp_path / "made/written").write_text("by the command")
    (tmp_path / "made/used/file").write_text("by the command")
    os.utime(tmp_path / "made", (5, 5))
    clear(str(tmp_path), ("made", "made/inner", "made/used", "made/file", "made/written"))
    assert sorted(os.listdir(tmp_path / "made")) == ["used", "written"]
    assert os.stat(tmp_path / "made").st_mtime == 5, "what is made for a mount is not the command's doing"
