"""Compile the table of system calls beside this file into seccomp filters, with libseccomp: `python tools/seccomp.py`.

Done when the table changes; what comes out, `builder/sandbox/*.bpf`, is kept in the repository and shipped. Bytes differ
between versions of libseccomp, what they decide does not: `tests/builder/sandbox/test_seccomp.py` asks the filters.
"""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile
import tomllib
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_OUT = _FOLDER.parent / "builder" / "sandbox"
# Of seccomp.h: an architecture and those whose programs its kernel runs too.
_ARCHITECTURES = {"x86_64": (0xC000003E, 0x40000003, 0x4000003E), "aarch64": (0xC00000B7, 0x40000028)}
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_OPTIMIZE, _BINARY_TREE = 8, 2
_OPS = {"<": 2, "==": 4, ">": 6, "&": 7}
# The first number that is no plain one: ARM has private calls from here on, x32 marks its own with a bit far above.
_PRIVATE = 0xF0000
_COMMON = 424
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06


class _Compare(ctypes.Structure):
    _fields_ = (("argument", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def compiled(table: dict, machine: str) -> bytes:  # type: ignore[type-arg]
    """The filter for a machine."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_EPERM)))
    for architecture in _ARCHITECTURES[machine]:
        if library.seccomp_arch_exist(context, architecture):
            _check(library.seccomp_arch_add(context, ctypes.c_uint32(architecture)), hex(architecture))
    for architecture in (token for tokens in _ARCHITECTURES.values() for token in tokens):
        if architecture not in _ARCHITECTURES[machine] and not library.seccomp_arch_exist(context, architecture):
            _check(library.seccomp_arch_remove(context, ctypes.c_uint32(architecture)), hex(architecture))
    _check(library.seccomp_attr_set(context, _OPTIMIZE, _BINARY_TREE), "optimize")
    newer = {**table["newer"], **table.get(f"newer_on_{machine}", {})}
    for name in (*table["always"], *table[machine]):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number != -1:
            _check(library.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, 0, None), name)
        elif name not in newer and name not in table["unknown"]:
            raise SystemExit(f"{name}: libseccomp does not know it, and [newer] has no number for it")
    for name in table["missing"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        _check(library.seccomp_rule_add_array(context, ctypes.c_uint32(_ENOSYS), number, 0, None), name)
    for rule in table["when"]:
        number = library.seccomp_syscall_resolve_name(rule["name"].encode())
        values = (rule["mask"], rule["value"]) if rule["op"] == "&" else (rule["value"], 0)
        compare = _Compare(rule["argument"], _OPS[rule["op"]], *values)
        _check(library.seccomp_rule_add_array(context, ctypes.c_uint32(_ALLOW), number, 1, ctypes.byref(compare)), rule["name"])
    with tempfile.TemporaryFile() as file:
        _check(library.seccomp_export_bpf(context, file.fileno()), "export")
        library.seccomp_release(context)
        content = os.pread(file.fileno(), 1 << 20, 0)
    return _prologue(sorted(newer.values())) + content


def _prologue(newer: list[int]) -> bytes:
    """What comes before libseccomp's part: numbers that it does not know, and ENOSYS for those that nobody knows yet.

    From 424 on a number means the same on all architectures; one below is the machine's own, and harmless on its others.
    """
    common = [number for number in newer if number >= _COMMON]
    steps: list[tuple[int, int, str | None, str | None]] = [(_LOAD, 0, None, None)]
    steps += [(_EQUAL, number, "allow", None) for number in newer if number < _COMMON]
    # Nearly all calls leave here.
    steps += [(_AT_LEAST, common[0], None, "end"), (_AT_LEAST, _PRIVATE, "end", None)]
    steps += [(_EQUAL, number, "allow", None) for number in common]
    steps.append((_GREATER, common[-1], "enosys", "end"))
    places = {"allow": len(steps), "enosys": len(steps) + 1, "end": len(steps) + 2}
    lines = []
    for place, (code, value, yes, no) in enumerate(steps):
        jumps = [places[name] - place - 1 if name else 0 for name in (yes, no)]
        lines.append(struct.pack("<HBBI", code, *jumps, value))
    return b"".join((*lines, struct.pack("<HBBI", _RETURN, 0, 0, _ALLOW), struct.pack("<HBBI", _RETURN, 0, 0, _ENOSYS)))


def _check(result: int, what: str) -> None:
    if result < 0:
        raise SystemExit(f"{what}: {os.strerror(-result)}")


def main() -> None:
    """Write the filters."""
    table = tomllib.loads((_FOLDER / "seccomp.toml").read_text())
    for machine in _ARCHITECTURES:
        content = compiled(table, machine)
        (_OUT / f"{machine}.bpf").write_bytes(content)
        print(f"{machine}: {len(content) // 8} instructions")


if __name__ == "__main__":
    main()
