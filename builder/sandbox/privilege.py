"""What this process may do, as the kernel says it. Where there is no /proc, as on a Mac: what an ordinary user may."""

from __future__ import annotations

CAP_SETGID, CAP_SETUID, CAP_SYS_CHROOT, CAP_SYS_ADMIN, CAP_MKNOD = 6, 7, 18, 21, 27
_ALL_IDS = 4294967295


def capabilities() -> int:
    """The effective capabilities as a set of bits."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"CapEff:"):
                    return int(line.split()[1], 16)
    except OSError:
        pass
    return 0


def has(*wanted: int) -> bool:
    """Whether all of these capabilities are effective."""
    held = capabilities()
    return all(held >> number & 1 for number in wanted)


def id_map(kind: str = "uid") -> tuple[tuple[int, int, int], ...]:
    """The rows of /proc/self/uid_map or gid_map: first id in here, first id outside, count."""
    try:
        # As bytes: pid 1 of a sandbox asks too, and may load no codec.
        with open(f"/proc/self/{kind}_map", "rb") as file:
            rows = [tuple(map(int, line.split())) for line in file]
    except OSError:
        return ((0, 0, _ALL_IDS),)
    return tuple((row[0], row[1], row[2]) for row in rows)


def is_in_user_namespace() -> bool:
    """Whether root here is not root of the machine. A namespace that maps every id to itself is taken for the machine's own."""
    return id_map() != ((0, 0, _ALL_IDS),)


def has_one_id() -> bool:
    """Whether this user namespace has no id but one: files cannot be given to anybody else."""
    return sum(count for _, _, count in id_map()) == 1
