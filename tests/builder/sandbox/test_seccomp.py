"""The filters that are shipped decide what the table beside their compiler says: each is asked about every system call."""

from __future__ import annotations

import ctypes
import struct
import tomllib
from functools import cache
from pathlib import Path

import pytest

from pybuild.builder.sandbox import privileges

ROOT = Path(__file__).resolve().parents[3]
TABLE = tomllib.loads((ROOT / "tools/seccomp.toml").read_text())
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026


def decide(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel would get from a filter. Source: linux/filter.h, linux/seccomp.h."""
    memory = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *arguments, *(0 for _ in range(6 - len(arguments))))
    instructions = list(struct.iter_unpack("<HBBI", program))
    place = accumulator = 0
    while True:
        code, yes, no, value = instructions[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", memory, value)
            case 0x06:
                return value
            case 0x05:
                place += value
            case 0x54:
                accumulator &= value
            case 0x15:
                place += yes if accumulator == value else no
            case 0x25:
                place += yes if accumulator > value else no
            case 0x35:
                place += yes if accumulator >= value else no
            case _:
                raise AssertionError(f"instruction {code:#x}")


@cache
def numbers(architecture: int) -> dict[str, int]:
    """All names of an architecture that libseccomp knows, with their numbers."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
    found = {}
    for number in range(500):
        if text := library.seccomp_syscall_resolve_num_arch(ctypes.c_uint32(architecture), number):
            found[ctypes.string_at(text).decode()] = number
    return found


@pytest.fixture(params=MACHINES)
def asked(request):
    """Ask a machine's filter about a call by its name."""
    program = (Path(privileges.__file__).parent / f"{request.param}.bpf").read_bytes()
    architecture = MACHINES[request.param]

    def ask(name, *arguments):
        number = name if isinstance(name, int) else numbers(architecture)[name]
        return decide(program, architecture, number, *arguments)

    ask.machine = request.param
    return ask


def test_exactly_the_table_is_allowed(asked):
    conditional = {rule["name"] for rule in TABLE["when"]} | set(TABLE["missing"])
    allowed = {name for name in numbers(MACHINES[asked.machine]) if name not in conditional and asked(name) == ALLOW}
    others = {asked(name) for name in numbers(MACHINES[asked.machine]) if name not in conditional and name not in allowed}
    assert allowed == (set(TABLE["always"]) | set(TABLE[asked.machine])) & set(numbers(MACHINES[asked.machine]))
    assert others == {EPERM}
    assert len(allowed) > 250


def test_what_a_container_must_not_do(asked):
    for name in (
        "mount",
        "umount2",
        "unshare",
        "setns",
        "keyctl",
        "add_key",
        "bpf",
        "kexec_load",
        "init_module",
        "reboot",
        "syslog",
    ):
        assert asked(name) == EPERM, name
    for name in ("ptrace", "chroot", "execve", "setuid", "setgroups", "mknodat"):
        assert asked(name) == ALLOW, name


def test_a_new_namespace_is_refused_and_a_new_process_is_not(asked):
    assert asked("clone", 17) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert asked("clone", flag | 17) == EPERM
    assert asked("clone3") == ENOSYS


def test_kinds_of_sockets(asked):
    assert [asked("socket", kind) for kind in (1, 2, 10, 16, 17, 39, 41)] == [ALLOW] * 7
    assert [asked("socket", kind) for kind in (38, 40)] == [EPERM] * 2


def test_personalities(asked):
    assert [asked("personality", value) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)] == [ALLOW] * 5
    assert asked("personality", 0x0040000) == EPERM


def test_calls_that_libseccomp_may_not_know(asked):
    assert {asked(number) for number in TABLE["newer"].values()} == {ALLOW}
    # lsm_get_self_attr is known and forbidden; what nobody knows is not there, and programs do what they did before.
    assert asked(459) == EPERM
    assert asked(max(TABLE["newer"].values()) + 1) == ENOSYS
    assert asked(-1) in (EPERM, ALLOW)


def test_32_bit_programs_have_the_same_rules(asked):
    program = (Path(privileges.__file__).parent / f"{asked.machine}.bpf").read_bytes()
    other = {"x86_64": 0x40000003, "aarch64": 0x40000028}[asked.machine]
    for name, expected in (("execve", ALLOW), ("mount", EPERM), ("unshare", EPERM), ("clone3", ENOSYS)):
        assert decide(program, other, numbers(other)[name]) == expected
    if asked.machine == "aarch64":
        # cacheflush and set_tls, private to ARM.
        assert decide(program, other, 0xF0002) == decide(program, other, 0xF0005) == ALLOW


def test_an_architecture_that_is_not_the_machine_s_is_killed(asked):
    other = MACHINES["aarch64" if asked.machine == "x86_64" else "x86_64"]
    program = (Path(privileges.__file__).parent / f"{asked.machine}.bpf").read_bytes()
    assert decide(program, other, numbers(other)["execve"]) == 0


def test_the_capabilities_are_docker_s_fourteen():
    assert len(privileges.CAPABILITIES) == 14
    assert sum(1 << number for number in privileges.CAPABILITIES.values()) == 0xA80425FB
