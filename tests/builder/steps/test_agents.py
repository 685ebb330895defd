"""An agent's socket for a sandbox: real keys in a real agent, and what may not be asked of it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pybuild.builder.errors import BuildError
from pybuild.builder.steps.agents import agent

pytestmark = pytest.mark.peers("ssh-agent", "ssh-add")
OURS = (os.getuid(), os.getgid())


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", path], check=True)
    return path


@pytest.fixture
def running(short, key, monkeypatch):
    """A user's agent with a key; its socket."""
    path = f"{short}/agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while not os.path.exists(path):
        assert time.monotonic() < end
    monkeypatch.setenv("SSH_AUTH_SOCK", path)
    subprocess.run(["ssh-add", "-q", key], check=True)
    yield path
    process.terminate()
    process.wait()


@pytest.fixture
def short():
    import tempfile

    with tempfile.TemporaryDirectory(prefix="pb") as found:
        yield found


def listed(path):
    return subprocess.run(
        ["ssh-add", "-l"], env={**os.environ, "SSH_AUTH_SOCK": str(path)}, capture_output=True, text=True, check=False
    ).stdout


def ask(path, kind, content=b""):
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)
        stream.sendall(struct.pack("!IB", len(content) + 1, kind) + content)
        return stream.recv(1000)[4]


def test_it_speaks_for_the_user_s_agent(running, short):
    folder = f"{short}/own"
    os.mkdir(folder)
    with agent((), folder, mode=0o640, owner=OURS):
        status = os.stat(f"{folder}/socket")
        assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o640
        assert "a comment" in listed(f"{folder}/socket")
    with agent((running,), f"{short}", mode=0o600, owner=OURS):
        assert "a comment" in listed(f"{short}/socket")


def test_keys_may_not_be_added_removed_or_locked(running, short):
    with agent((), short, mode=0o600, owner=OURS):
        for kind in (17, 18, 19, 22, 23, 25, 26, 1, 9):
            assert ask(f"{short}/socket", kind, b"\0\0\0\0") == 5
        assert ask(f"{short}/socket", 11) == 12
        # A request that an agent would grant.
        other = f"{short}/other"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "another", "-f", other], check=True)
        added = subprocess.run(["ssh-add", "-q", other], env={**os.environ, "SSH_AUTH_SOCK": f"{short}/socket"}, capture_output=True)
        assert added.returncode != 0
    assert "a comment" in listed(running) and "another" not in listed(running)


def test_keys_without_an_agent(key, short, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    folder = f"{short}/own"
    os.mkdir(folder)
    with agent((str(key),), folder, mode=0o600, owner=OURS):
        assert "a comment" in listed(f"{folder}/socket")
    with pytest.raises(BuildError, match="there is no agent"):
        agent((), short, mode=0o600, owner=OURS).__enter__()


def test_a_key_with_a_passphrase_and_what_is_no_key(tmp_path, short):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "locked"], check=True)
    (tmp_path / "text").write_text("no key\n")
    for number, name in enumerate(("locked", "text")):
        os.mkdir(f"{short}/{number}")
        with pytest.raises(BuildError, match="cannot use the key"):
            agent((str(tmp_path / name),), f"{short}/{number}", mode=0o600, owner=OURS).__enter__()
    with pytest.raises(BuildError, match="cannot read"):
        agent((str(tmp_path / "missing"),), short, mode=0o600, owner=OURS).__enter__()


def test_a_long_path_is_no_trouble(running, tmp_path):
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    with agent((), str(folder), mode=0o600, owner=OURS):
        descriptor = os.open(folder, os.O_PATH)
        assert ask(f"/proc/self/fd/{descriptor}/socket", 11) == 12
        os.close(descriptor)


def test_an_agent_of_our_own_ends_with_us_also_by_kill_9(key, short):
    root = Path(__file__).resolve().parents[3]
    os.mkdir(f"{short}/own")
    program = f"""
import sys; sys.path.insert(0, {str(root)!r}); import pybuild; pybuild.__path__.append({str(root)!r})
from pybuild.builder.steps.agents import agent
with agent(({str(key)!r},), {short + "/own"!r}, mode=0o600, owner={OURS}):
    print("held", flush=True); sys.stdin.read()
"""
    for is_killed in (False, True):
        process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"held\n"
        assert holders(short)
        if is_killed:
            process.kill()
        process.communicate()
        end = time.monotonic() + 10
        while holders(short):
            assert time.monotonic() < end
        for name in ("own/socket", "own-keys/own"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{short}/{name}")
        os.rmdir(f"{short}/own-keys")


def holders(folder):
    """The processes that are at work in a folder."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            found += [name] if name.isdigit() and os.readlink(f"/proc/{name}/cwd").startswith(folder) else []
    return found
