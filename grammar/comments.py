"""What stands between a Dockerfile's instructions: the comments above each, and blank lines inside of one. Pure.

A comment belongs to the next instruction, whatever blank lines come between; an empty one (`#` alone) cuts off those before
it. Directives are no comments. Source: BuildKit, parser.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.grammar.lines import split_lines
from pybuild.grammar.source import Source, Span
from pybuild.values import frozen


@frozen
class Surroundings:
    """All by the line where an instruction begins: its comments without the `#`, the blank lines inside of it, and its
    last line, here-documents included."""

    comments: Mapping[int, tuple[str, ...]]
    blanks: Mapping[int, tuple[Span, ...]]
    ends: Mapping[int, int]

    def description(self, line: int, name: str) -> str:
        """What the comments above an instruction say of a name that it defines: `# name description`."""
        found = (comment for comment in self.comments.get(line, ()) if comment.startswith(f"{name} "))
        return next(found, "")[len(name) + 1 :]


def surroundings(source: Source) -> Surroundings:
    """What is around the instructions of a source that parses. Raises DockerfileError."""
    physical = source.text.split("\n")
    if physical[-1] == "":
        physical.pop()
    split = split_lines(source)
    comments: dict[int, tuple[str, ...]] = {}
    blanks: dict[int, tuple[Span, ...]] = {}
    ends: dict[int, int] = {}
    # Behind `#!`, BuildKit's parser takes directives for comments.
    behind = 0 if source.text.startswith("#!") else len(split.directives)
    for line in split.lines:
        # Where its keyword is: a line may begin with nothing but an escape.
        first = line.place(len(line.text) - len(line.text.lstrip()))[0]
        comments[first] = _comments(physical[behind : line.first_line - 1])
        behind = ends[first] = line.last_line
        own = {number for number, _ in line.places}
        last = line.last_line - sum(heredoc.content.count("\n") + 1 for heredoc in line.heredocs)
        blanks[first] = tuple(
            Span(number, 1, number + 1, 1)
            for number in range(line.first_line, min(last, len(physical)) + 1)
            if number not in own and not physical[number - 1].strip()
        )
    return Surroundings(comments, blanks, ends)


def _comments(physical: list[str]) -> tuple[str, ...]:
    found: list[str] = []
    for text in physical:
        if not text.lstrip().startswith("#"):
            continue
        comment = text[1:].strip()
        found = [*found, comment] if comment else []
    return tuple(found)
