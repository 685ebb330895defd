"""Reading tar archives by the letter of POSIX, without tarfile: every field that the reader believes is checked.

Source: POSIX pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar's manual for its long names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from checker.report import Report

BLOCK = 512
FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_TYPES = (FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO)
_POSIX = b"ustar\x0000"
_CHUNK = 1 << 20


@dataclass(slots=True)
class Member:
    """One member; `name` and `link` as the archive spells them. `stray` are the fields of its header that it has no use for, and fills."""

    name: bytes
    type: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    device: tuple[int, int]
    is_posix: bool
    stray: tuple[str, ...]
    records: dict[bytes, bytes] = field(default_factory=dict)


def members(read: Callable[[int], bytes], where: str, report: Report, *, ours: bool) -> Iterator[Member]:
    """The members of a tar stream, whose content is passed over; reads to its end. Stops at a header that is none."""
    records: dict[bytes, bytes] = {}
    long: dict[bytes, bytes] = {}
    while True:
        head = read(BLOCK)
        if not head and not ours:
            # umoci's `insert` writes no end, nor the last padding, and every reader takes that.
            return
        if not report.hold(len(head) == BLOCK, where, "the archive ends in the middle"):
            return
        if not any(head):
            _end(read, where, report)
            report.hold(not records and not long, where, "extended headers with nothing behind them")
            return
        if not _is_header(head, where, report):
            return
        kind = head[156:157]
        if kind in b"xgLK":
            size = _number(head[124:136], where, report)
            content = _padded(read, size, where, report, strict=ours)
            if content is None:
                return
            report.hold(not ours or kind == b"x", where, f"a header of type {kind!r}: not POSIX, or for the whole archive")
            is_bare = head[257:265] == _POSIX and not _stray(head, kind)
            report.hold(not ours or is_bare, where, "an extended header with fields that it has no use for")
            if kind == b"x":
                records = _records(content, where, report)
            elif kind in b"LK":
                long[b"path" if kind == b"L" else b"linkpath"] = content.rstrip(b"\0")
            continue
        member = _member(head, records | long, where, report)
        records, long = {}, {}
        yield member
        if not _skip(read, member.size if member.type == FILE else 0, where, report, strict=ours):
            return


def _member(head: bytes, records: dict[bytes, bytes], where: str, report: Report) -> Member:
    name, prefix = head[:100].split(b"\0")[0], b""
    is_posix = head[257:265] == _POSIX
    if is_posix:
        prefix = head[345:500].split(b"\0")[0]
    name = records.get(b"path", prefix + b"/" + name if prefix else name)
    place = f"{where}: {name.decode(errors='backslashreplace')}"
    kind = head[156:157]
    if kind in b"\07":
        kind = FILE
    report.hold(kind in _TYPES, place, f"unknown type {kind!r}")
    for key in (b"size", b"uid", b"gid"):
        if key in records and not report.hold(records[key].isdigit(), place, f"a pax record {key!r} that is no number"):
            records = {other: value for other, value in records.items() if other != key}
    size = int(records[b"size"]) if b"size" in records else _number(head[124:136], place, report)
    report.hold(kind == FILE or size == 0, place, "a size, but no content")
    mode = _number(head[100:108], place, report)
    report.hold(mode & ~0o177777 == 0, place, f"mode {mode:o}")
    numbers = [_number(head[at : at + 8], place, report) for at in (108, 116)]
    uid, gid = (int(records.get(key, value)) for key, value in ((b"uid", numbers[0]), (b"gid", numbers[1])))
    device = (0, 0)
    if kind in (CHARACTER, BLOCK_DEVICE):
        device = (_number(head[329:337], place, report), _number(head[337:345], place, report))
    mtime = _number(head[136:148], place, report)
    link = records.get(b"linkpath", head[157:257].split(b"\0")[0])
    return Member(name, kind, mode & 0o7777, uid, gid, size, mtime, link, device, is_posix, _stray(head, kind), records)


def _stray(head: bytes, kind: bytes) -> tuple[str, ...]:
    """What differs between two archives of the same files: names of owners, what lies behind a NUL."""
    texts = {"name": head[:100], "linkname": head[157:257], "prefix": head[345:500]}
    unused = {"uname": head[265:297], "gname": head[297:329], "the header's last bytes": head[500:]}
    if kind not in (LINK, SYMLINK):
        unused["linkname"] = head[157:257]
    if kind not in (CHARACTER, BLOCK_DEVICE):
        unused |= {"devmajor": head[329:337].replace(b"0", b"\0"), "devminor": head[337:345].replace(b"0", b"\0")}
    found = [name for name, field in unused.items() if any(field)]
    found += [name for name, field in texts.items() if any(field.partition(b"\0")[2])]
    return tuple(found)


def _is_header(head: bytes, where: str, report: Report) -> bool:
    if not report.hold(head[257:262] == b"ustar", where, "not a tar header: no ustar in it"):
        return False
    said = _number(head[148:156], where, report)
    return report.hold(said == sum(head[:148]) + 8 * 32 + sum(head[156:]), where, "a header whose sum is wrong")


def _number(text: bytes, where: str, report: Report) -> int:
    if text[:1] in (b"\x80", b"\xff"):
        return int.from_bytes(text[1:], "big") - (1 << 8 * (len(text) - 1) if text[0] == 0xFF else 0)
    digits = text.split(b"\0")[0].strip()
    if not digits:
        return 0
    if not report.hold(all(byte in b"01234567" for byte in digits), where, f"{text!r} is not octal"):
        return 0
    return int(digits, 8)


def _records(content: bytes, where: str, report: Report) -> dict[bytes, bytes]:
    found = {}
    while content:
        length, blank, _ = content.partition(b" ")
        if not report.hold(blank and length.isdigit() and int(length) <= len(content), where, "a pax record of a wrong length"):
            break
        record, content = content[: int(length)], content[int(length) :]
        key, equals, value = record[len(length) + 1 :].partition(b"=")
        report.hold(equals and key and record.endswith(b"\n"), where, f"not a pax record: {record[:80]!r}")
        report.hold(key not in found, where, f"two pax records {key!r}")
        found[key] = value[:-1]
    return found


def _padded(read: Callable[[int], bytes], size: int, where: str, report: Report, *, strict: bool) -> bytes | None:
    content = read(size)
    padding = read(-size % BLOCK)
    if not report.hold(len(content) == size and len(padding) == -size % BLOCK, where, "the archive ends in the middle"):
        return None
    report.hold(not strict or not any(padding), where, "padding is zeros")
    return content


def _skip(read: Callable[[int], bytes], size: int, where: str, report: Report, *, strict: bool) -> bool:
    left = size
    while left:
        content = read(min(left, _CHUNK))
        if not report.hold(content, where, "the archive ends in the middle"):
            return False
        left -= len(content)
    return _padding(read(-size % BLOCK), -size % BLOCK, where, report, strict=strict)


def _padding(content: bytes, size: int, where: str, report: Report, *, strict: bool) -> bool:
    report.hold(not strict or not any(content), where, "padding is zeros")
    return report.hold(len(content) == size or not (content or strict), where, "the archive ends in the middle")


def _end(read: Callable[[int], bytes], where: str, report: Report) -> None:
    second = read(BLOCK)
    report.hold(second == bytes(BLOCK), where, "an archive ends in two blocks of zeros")
    while content := read(_CHUNK):
        report.hold(not any(content), where, "something behind the archive's end")
