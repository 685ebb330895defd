"""Images that other tools made, to build upon and to check: umoci writes the layers, skopeo carries them about."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

TAG = "busybox"


def run(*argv: object) -> str:
    """Run a program to its end and return what it printed; its errors are the test's."""
    found = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    assert found.returncode == 0, f"{argv}: {found.returncode}\n{found.stdout}{found.stderr}"
    return found.stdout


def busybox_root(folder: Path) -> Path:
    """A file system with a shell, /etc/passwd and a few directories, at `folder`."""
    for name in ("bin", "etc", "tmp", "root", "home/user", "usr/share/old"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    shutil.copy2(shutil.which("busybox") or "busybox", folder / "bin" / "busybox")
    for applet in run("busybox", "--list").split():
        if applet != "busybox":
            (folder / "bin" / applet).symlink_to("busybox")
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (folder / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\nstaff:x:50:user\n")
    (folder / "usr/share/old/readme").write_text("below\n")
    (folder / "usr/share/old/licence").write_text("below\n")
    return folder


def busybox_layout(folder: Path) -> Path:
    """An OCI layout at `folder` with the image `busybox`, two layers, made by umoci."""
    root = busybox_root(folder.with_name(folder.name + ".root"))
    extra = folder.with_name(folder.name + ".extra")
    extra.write_text("from umoci\n")
    run("umoci", "init", "--layout", folder)
    image = f"{folder}:{TAG}"
    run("umoci", "new", "--image", image)
    run("umoci", "insert", "--image", image, root, "/")
    run("umoci", "insert", "--image", image, extra, "/etc/made-by")
    run("umoci", "config", "--image", image, "--config.cmd", "/bin/sh", "--config.env", "MADE_BY=umoci", "--author", "tests")
    run("umoci", "gc", "--layout", folder)
    return folder
