"""A file with the edits of its findings made: nothing else changes by a byte, line ends and byte order mark included. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from pybuild.builder.lint.findings import Edit, Finding
from pybuild.grammar import DockerfileError
from pybuild.values import frozen

_MARK = "\ufeff"
# One edit may lead to the next: FROM in upper case wants AS in upper case.
_ROUNDS = 10


@frozen
class Mended:
    """A file after mending, and how many findings that mended."""

    content: bytes
    count: int


def text_of(content: bytes) -> str:
    """A file's bytes as the text that spans are about: without a mark in front, lines end in `\\n`."""
    return content.decode("utf-8", "surrogateescape").removeprefix(_MARK).replace("\r\n", "\n")


def mend(content: bytes, find: Callable[[str], tuple[Finding, ...]]) -> Mended:
    """Make the edits of all findings, and of those that are found then, until none has any. `find` lints a text.

    A file that would not parse any more stays as it was before. Raises what `find` does for the file as it is.
    """
    findings = find(text_of(content))
    count = 0
    for _ in range(_ROUNDS):
        chosen = _compatible(findings)
        if not chosen:
            break
        changed = apply(content, [edit for finding in chosen for edit in finding.edits])
        try:
            findings = find(text_of(changed))
        except DockerfileError:
            break
        content, count = changed, count + len(chosen)
    return Mended(content, count)


def apply(content: bytes, edits: Iterable[Edit]) -> bytes:
    """The bytes with edits made that don't overlap."""
    text = content.decode("utf-8", "surrogateescape")
    start = len(_MARK) if text.startswith(_MARK) else 0
    starts = [start]
    for line in text[start:].split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    parts, behind = [], 0
    for edit in sorted(edits, key=lambda edit: edit.span):
        begin = starts[edit.span.line - 1] + edit.span.column - 1
        parts += [text[behind:begin], edit.text]
        behind = starts[edit.span.end_line - 1] + edit.span.end_column - 1
    return "".join((*parts, text[behind:])).encode("utf-8", "surrogateescape")


def _compatible(findings: tuple[Finding, ...]) -> list[Finding]:
    """The findings that can be mended at once: all edits of each, none touching another's."""
    chosen: list[Finding] = []
    taken: dict[int, list[Edit]] = {}
    for finding in findings:
        if finding.edits and not any(_touch(edit, other) for edit in finding.edits for other in _on_lines(edit, taken)):
            chosen.append(finding)
            for edit in finding.edits:
                for line in range(edit.span.line, edit.span.end_line + 1):
                    taken.setdefault(line, []).append(edit)
    return chosen


def _on_lines(edit: Edit, taken: Mapping[int, list[Edit]]) -> Iterator[Edit]:
    for line in range(edit.span.line, edit.span.end_line + 1):
        yield from taken.get(line, ())


def _touch(first: Edit, second: Edit) -> bool:
    one, other = first.span, second.span
    return one[:2] <= other[2:] and other[:2] <= one[2:]
