"""Which ids a user namespace of ours has: ranges of /etc/subuid and /etc/subgid, all of root's own, or one alone.

Source: the man pages subuid(5), newuidmap(1), user_namespaces(7).
"""

from __future__ import annotations

import os
import shutil

from pybuild.builder.errors import SandboxError
from pybuild.builder.sandbox import privilege
from pybuild.builder.sandbox.forking import reap
from pybuild.builder.sandbox.kernelfiles import read, write
from pybuild.values import frozen

Rows = tuple[tuple[int, int, int], ...]


@frozen
class Mapping:
    """The rows of uid_map and gid_map. `reason` says why there is but one id, and what mends it; None when there are more."""

    users: Rows
    groups: Rows
    reason: str | None = None


def ranges(text: str, name: str, number: int) -> tuple[tuple[int, int], ...]:
    """The ranges that a file such as /etc/subuid gives to an account: first id and count."""
    found = []
    for line in text.splitlines():
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if owner in (name, str(number)) and first.isdigit() and count.isdigit():
            found.append((int(first), int(count)))
    return tuple(found)


def rows(own: int, given: tuple[tuple[int, int], ...]) -> Rows:
    """The map in which `own` is 0, and the ranges follow from 1 on."""
    found = [(0, own, 1)]
    for first, count in given:
        found.append((found[-1][0] + found[-1][2], first, count))
    return tuple(found)


def own_mapping() -> Mapping:
    """The mapping that this process can have."""
    uid, gid = os.geteuid(), os.getegid()
    if privilege.has(privilege.CAP_SETUID, privilege.CAP_SETGID):
        return Mapping(_itself(privilege.id_map("uid")), _itself(privilege.id_map("gid")))
    name = _account_name(uid)
    users, groups = (ranges(read(f"/etc/{file}"), name, uid) for file in ("subuid", "subgid"))
    missing = [program for program in ("newuidmap", "newgidmap") if shutil.which(program) is None]
    if missing:
        return single(f"{missing[0]} is missing: {advice()}")
    if not users or not groups:
        return single(f"{name} has no range in {'/etc/subgid' if users else '/etc/subuid'}: {advice()}")
    return Mapping(rows(uid, users), rows(gid, groups))


def advice() -> str:
    """How to have more ids than one; inside of the user namespace too."""
    uid = privilege.id_map()[0][1] if privilege.has_one_id() else os.geteuid()
    name = _account_name(uid)
    return f"install the package uidmap, and as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"


def single(reason: str) -> Mapping:
    """The mapping that anybody may have: us alone, as root."""
    return Mapping(((0, os.geteuid(), 1),), ((0, os.getegid(), 1),), reason)


def apply(mapping: Mapping, pid: int) -> Mapping:
    """Give a process that has just left for its user namespace its ids; what it got, one id when the ranges were refused.

    Raises SandboxError when it can have none at all.
    """
    if mapping.reason is None:
        refusal = _apply_ranges(mapping, pid)
        if refusal is None:
            return mapping
        mapping = single(refusal)
    try:
        # Without this an ordinary user may map no group: groups can also take rights away.
        write(f"/proc/{pid}/setgroups", "deny")
        write(f"/proc/{pid}/uid_map", _text(mapping.users))
        write(f"/proc/{pid}/gid_map", _text(mapping.groups))
    except OSError as error:
        raise SandboxError(
            f"cannot map an id into a user namespace: {error.strerror}", hint="'pybuild doctor' says what this place allows"
        ) from error
    return mapping


def _apply_ranges(mapping: Mapping, pid: int) -> str | None:
    if privilege.has(privilege.CAP_SETUID, privilege.CAP_SETGID):
        try:
            write(f"/proc/{pid}/uid_map", _text(mapping.users))
            write(f"/proc/{pid}/gid_map", _text(mapping.groups))
        except OSError as error:
            return f"the ids of this place cannot be mapped: {error.strerror}"
        return None
    started = [_start(program, pid, found) for program, found in (("newuidmap", mapping.users), ("newgidmap", mapping.groups))]
    refusals = [text for text in map(_finish, started) if text is not None]
    return refusals[0] if refusals else None


def _start(program: str, pid: int, found: Rows) -> tuple[str, int, int]:
    """Start newuidmap or newgidmap; both run at once, at 8 ms each."""
    path = shutil.which(program)
    assert path is not None
    source, end = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, end, 1), (os.POSIX_SPAWN_DUP2, end, 2)]
    argv = [program, str(pid), *(str(number) for row in found for number in row)]
    try:
        return program, os.posix_spawn(path, argv, dict(os.environ), file_actions=actions), source
    finally:
        os.close(end)


def _finish(started: tuple[str, int, int]) -> str | None:
    """Why it did not work, None when it did."""
    program, pid, source = started
    with open(source, "rb") as stream:
        told = stream.read().decode("utf-8", "replace").strip()
    code = reap(pid)
    if code == 0 or (code is None and not told):
        return None
    return f"{told or program + ' failed'} (is {program} setuid root, and the range in /etc/subuid and /etc/subgid yours?)"


def _itself(found: Rows) -> Rows:
    return tuple((first, first, count) for first, _, count in found)


def _text(found: Rows) -> str:
    return "".join(f"{' '.join(map(str, row))}\n" for row in found)


def _account_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
