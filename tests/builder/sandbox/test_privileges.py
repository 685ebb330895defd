"""What a command may do, found out by trying it: docker's defaults, the same for setuid programs, and all for `insecure`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pybuild.builder.steps.accounts import Account

pytestmark = pytest.mark.root
FOURTEEN = "00000000a80425fb"
NONE = "0000000000000000"
USER = Account(1000, 100, (200,), "/", "user")


@pytest.fixture(scope="module")
def programs(tmp_path_factory, lower):
    """The lower directory with a program that tries what is forbidden, once with the setuid bit."""
    folder = tmp_path_factory.mktemp("programs")
    folder.chmod(0o755)
    source = Path(__file__).with_name("calls.c")
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-static", "-o", folder / "calls", source], check=True)
    shutil.copy(folder / "calls", folder / "setuid-calls")
    (folder / "setuid-calls").chmod(0o4755)
    return (folder, lower)


def sets(text):
    lines = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return [lines[f"Cap{name}"] for name in ("Bnd", "Prm", "Eff", "Inh", "Amb")]


def tried(text):
    return dict(line.split(" ") for line in text.splitlines())


@pytest.mark.parametrize(
    ("account", "expected"),
    [(Account(), [FOURTEEN, FOURTEEN, FOURTEEN, NONE, NONE]), (USER, [FOURTEEN, NONE, NONE, NONE, NONE])],
    ids=["root", "user"],
)
def test_capabilities_are_those_of_docker(sandbox, account, expected):
    _, output, _ = sandbox("cat /proc/self/status", account=account)
    assert sets(output) == expected
    assert "NoNewPrivs:\t0" in output and "Seccomp:\t2" in output


def test_calls_that_are_forbidden(sandbox, programs):
    found = tried(sandbox("", lowers=programs, argv=("/calls",))[1])
    assert found.pop("clone3") == "ENOSYS" and found.pop("newer") == "ENOSYS"
    assert found.pop("fchmodat2") in ("done", "ENOSYS")
    assert found.pop("0") == "0"
    assert set(found.values()) == {"EPERM"}


def test_a_setuid_program_is_root_and_no_more_than_root(sandbox, programs):
    found = tried(sandbox("", lowers=programs, argv=("/setuid-calls",), account=USER)[1])
    assert found["1000"] == "0"
    assert found["mount"] == found["unshare"] == "EPERM"


def test_insecure_has_everything(sandbox):
    for account in (Account(), USER):
        _, output, _ = sandbox("cat /proc/self/status", account=account, security="insecure")
        found = sets(output)
        assert int(found[0], 16) >> 21 & 1 and len(set(found)) == 1
        assert "Seccomp:\t0" in output
    assert sandbox("mount -t tmpfs x /etc && echo x > /proc/sys/kernel/hostname", security="insecure")[0] == 0


def test_there_is_a_session_keyring_of_its_own(sandbox):
    """/proc/keys, which insecure does not mask, tells what the caller possesses: nothing of the host's is."""
    here = {line.split()[0] for line in Path("/proc/keys").read_text().splitlines() if " _ses" in line}
    code, output, _ = sandbox("cat /proc/keys", security="insecure")
    own = {line.split()[0] for line in output.splitlines() if " _ses" in line}
    assert code == 0 and own - here
