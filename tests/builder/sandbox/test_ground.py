"""What a sandbox stands on: what is refused makes it another ground, what is short for the moment does not."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from pybuild.builder.errors import SandboxError
from pybuild.builder.sandbox import kernel, tries
from pybuild.builder.sandbox.ground import find, is_user_namespace_needed

pytestmark = pytest.mark.root


def refuse(monkeypatch, number):
    def unshare(flags):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(kernel, "unshare", unshare)


def test_where_namespaces_are_refused_there_is_chroot(monkeypatch, tmp_path):
    refuse(monkeypatch, errno.EPERM)
    assert find("auto", str(tmp_path)).isolation == "chroot"
    with pytest.raises(SandboxError, match="namespaces are refused"):
        find("namespaces", str(tmp_path))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_what_is_short_for_the_moment_makes_no_sandbox_that_keeps_less_apart(monkeypatch, tmp_path, number):
    """A command of another stage may have taken all processes, so that the next one gets a chroot alone."""
    refuse(monkeypatch, number)
    with pytest.raises(SandboxError, match=os.strerror(number)) as raised:
        find("auto", str(tmp_path))
    assert "used up" in raised.value.hint
    monkeypatch.setattr("pybuild.builder.sandbox.privilege.has", lambda capability: capability == 18)
    with pytest.raises(SandboxError, match=os.strerror(number)):
        is_user_namespace_needed("auto")


def test_a_try_within_a_try_that_finds_no_process_is_short_too(monkeypatch, tmp_path):
    parent = os.getpid()
    fork = tries.fork

    def first_alone():
        if os.getpid() != parent:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    monkeypatch.setattr(tries, "fork", first_alone)
    assert tries.namespaces(str(tmp_path)).is_passing
    with pytest.raises(SandboxError, match="for now"):
        find("auto", str(tmp_path))


def test_a_try_that_is_killed_says_nothing_about_the_place():
    reason = tries.attempt(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert reason.is_passing and "-9" in reason
