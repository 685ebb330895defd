"""Which words of an instruction are expanded, and which stages and images it names. Pure.

Source: BuildKit, instructions/commands.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pybuild.grammar import Span
from pybuild.grammar.instructions import Copy, Instruction, Pairs, Run, Word, Words
from pybuild.registry import Platform

_SYSTEMS = ("aix", "android", "darwin", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9", "solaris")
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm", "armel": "arm"}
_EXPANDED = ("WORKDIR", "USER", "STOPSIGNAL", "VOLUME")


def origins(instruction: Instruction) -> Iterator[str]:
    """The stages and images that an instruction names with --from, and in its mounts."""
    if isinstance(instruction, Copy):
        flag = instruction.flag("from")
        if flag is not None and flag.value is not None:
            yield flag.value.text
    if isinstance(instruction, Run):
        for flag in instruction.flags:
            if flag.name == "mount" and flag.value is not None:
                yield from (value for name, value in mount_fields(flag.value.text) if name == "from" and value)


def mount_fields(text: str) -> list[tuple[str, str | None]]:
    """The fields of --mount: a list of comma-separated values, each `name=value` or a name."""
    import csv

    try:
        parts = next(csv.reader([text], strict=True), [])
    except csv.Error:
        return []
    return [(name.lower(), value if equals else None) for name, equals, value in (part.partition("=") for part in parts)]


def expanded(instruction: Instruction) -> Iterator[Word]:
    """The words that are expanded, in the order in which that is done."""
    if isinstance(instruction, Pairs):
        for pair in instruction.pairs:
            yield from (pair.name, pair.value)
    elif isinstance(instruction, Copy):
        for name in ("chown", "chmod", "checksum"):
            flag = instruction.flag(name)
            if flag is not None and flag.value is not None:
                yield flag.value
        yield from (*instruction.sources, instruction.destination)
    elif isinstance(instruction, Words) and instruction.keyword in _EXPANDED:
        yield from instruction.words
    elif isinstance(instruction, Run):
        mounts = (flag.value for flag in instruction.flags if flag.name == "mount" and flag.value is not None)
        yield from (_part(mount, value) for mount in mounts for _, value in mount_fields(mount.text) if value is not None)


def _part(word: Word, text: str) -> Word:
    """A part of a word, with its own place where that can be told."""
    start = word.text.find(text)
    span = word.span
    if start < 0 or span.line != span.end_line or span.end_column - span.column != len(word.text):
        return Word(text, span)
    return Word(text, Span(span.line, span.column + start, span.line, span.column + start + len(text)))


def read_platform(text: str) -> Platform | None:
    """A platform as FROM takes it: a system, an architecture, or both and a variant. None for what is none."""
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(re.fullmatch("[A-Za-z0-9_.-]+", part) for part in parts):
        return None
    here = Platform.here()
    if len(parts) == 1:
        if parts[0] in (*_SYSTEMS, "windows", "macos"):
            return Platform(parts[0], here.architecture)
        return Platform(here.os, _ALIASES.get(parts[0], parts[0]))
    return Platform(parts[0], _ALIASES.get(parts[1], parts[1]), parts[2] if len(parts) == 3 else None)
