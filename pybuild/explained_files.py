"""What is other about the files that a step reads: a line for each, as people read it. Pure.

What is known of a file is what `builder.contexts.context.in_short` says of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pybuild.builder.records.explaining import Change
from pybuild.paint import DIM, GREEN, RED, YELLOW, Paint
from pybuild.progress.text import printable, shortened, size

_MOST_FILES = 12
_LONGEST = 60
_LONGEST_VALUE = 48
_KINDS = {
    "FILE": "file", "DIRECTORY": "directory", "SYMLINK": "link", "HARDLINK": "hard link", "FIFO": "fifo",
    "CHARACTER": "character device", "BLOCK": "block device",
}  # fmt: skip
# Its bytes are no text, whatever they look like.
_CAPABILITY = "security.capability"


def file_lines(files: Sequence[Change], paint: Paint) -> Iterator[str]:
    """All of one step's; of many the first."""
    if files[0].name == "":
        yield "what it reads out of the context is other than before"
        return
    counts = (
        (sum(change.old is not None and change.new is not None for change in files), "changed"),
        (sum(change.old is None for change in files), "added"),
        (sum(change.new is None for change in files), "removed"),
    )
    told = [f"{count} {'file ' if count == 1 else 'files '}{word}" for count, word in counts if count]
    yield ", ".join(told[:1] + [text.replace("files ", "").replace("file ", "") for text in told[1:]]) + ":"
    # What changed says the most; a folder's own entry the least.
    shown = sorted(files, key=lambda change: (_is_folder(change), change.old is None or change.new is None, change.name))
    names = [shortened(printable(change.name), _LONGEST) for change in shown[:_MOST_FILES]]
    width = max(map(len, names))
    for name, change in zip(names, shown, strict=False):
        sign, colour = ("+", GREEN) if change.old is None else ("-", RED) if change.new is None else ("~", YELLOW)
        yield f"  {paint(colour, sign)} {name.ljust(width)}  {paint(DIM, _told(change))}".rstrip()
    if len(files) > _MOST_FILES:
        yield paint(DIM, f"  … and {len(files) - _MOST_FILES} more")


def _is_folder(change: Change) -> bool:
    return (change.new or change.old or "").startswith("DIRECTORY")


class _File:
    """What is known of one file."""

    def __init__(self, text: str) -> None:
        head, _, rest = text.partition("\1")
        self.kind, self.mode, length, self.content = head.split(" ", 3)
        self.size = int(length)
        self.shares, _, attributes = rest.partition("\1")
        self.attributes: dict[str, str] = json.loads(attributes) if attributes else {}

    @property
    def what(self) -> str:
        return _KINDS.get(self.kind, self.kind.lower())


def _told(change: Change) -> str:
    """What is other about a file: its kind, its mode, its size, where it leads, or its content alone."""
    if change.old is None or change.new is None:
        file = _File(change.old or change.new or "")
        return size(file.size) if file.kind == "FILE" else file.what
    was, now = _File(change.old), _File(change.new)
    return printable(f"{was.what} → {now.what}" if was.kind != now.kind else ", ".join(_differences(was, now)))


def _differences(was: _File, now: _File) -> Iterator[str]:
    if was.mode != now.mode:
        yield f"mode {was.mode} → {now.mode}"
    if was.size != now.size:
        yield f"{size(was.size)} → {size(now.size)}"
    elif was.content != now.content and now.kind == "SYMLINK":
        yield f"leads to {now.content}, not {was.content}"
    elif was.content != now.content and now.kind in ("CHARACTER", "BLOCK"):
        yield f"device {was.content} → {now.content}"
    elif was.content != now.content:
        yield f"{size(now.size)}, other content"
    if was.shares != now.shares:
        yield f"is {now.shares} by another name now" if now.shares else f"is a file of its own now, not {was.shares}"
    for name in sorted({*was.attributes, *now.attributes}):
        old, new = was.attributes.get(name), now.attributes.get(name)
        if old != new:
            yield f"attribute {name}: {_value(name, old)} → {_value(name, new)}"


def _value(name: str, digits: str | None) -> str:
    if digits is None:
        return "not set"
    text = bytes.fromhex(digits).decode("utf-8", "replace")
    if text and text.isprintable() and name != _CAPABILITY and "\N{REPLACEMENT CHARACTER}" not in text:
        return shortened(text, _LONGEST_VALUE)
    return shortened(f"0x{digits}", _LONGEST_VALUE) if digits else "empty"
