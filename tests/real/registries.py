"""The registry:2 program of Debian's docker-registry, on a free port of the loopback device."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The user `alice` with the password `secret`, as bcrypt has it.
HTPASSWD = "alice:$2y$05$ENK.GVmsnQyiObFsQnIHt.Qm7DPT17g9kV8hzy.baw/OrWi3yI5ZG\n"
_CONFIG = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}/data}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
"""
_AUTH = "auth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}"
_START_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry: its address, and the folder that it keeps its content in."""

    host: str
    folder: Path

    def name(self, path: str) -> str:
        """An image name in this registry."""
        return f"{self.host}/{path}"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running_registry(folder: Path, *, users: bool = False) -> Iterator[Registry]:
    """A registry that runs until the context is left."""
    port = free_port()
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = _AUTH.format(folder=folder) if users else ""
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder, port=port, auth=auth))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/v2/", process, folder / "log")
        yield Registry(f"127.0.0.1:{port}", folder / "data")
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the registry ended: {log.read_text()}")
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"the registry does not answer: {log.read_text()}")
