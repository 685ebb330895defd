"""Here-documents: which words of a line name one, and what a name says. Pure.

A line's words are found by the shell's rules, whatever its instruction (BuildKit, parser/parser.go), so a line with a quote or
a `${` that is not closed names none.
"""

from __future__ import annotations

import re

from pybuild.grammar.blanks import SPACES
from pybuild.grammar.errors import WordError
from pybuild.grammar.wordlexer import Mode
from pybuild.grammar.words import pieces, placed_words
from pybuild.values import frozen

_HEREDOC = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)\Z", re.DOTALL)
_TABS = re.compile(r"^\t+", re.MULTILINE)
# Without any of these, words are what stands between blanks, but for those behind `<<`.
_HIDING = re.compile("[$'\"\\\\\ufeff]")
_SPACE = re.compile(f"[{SPACES}]")
_SHELL_WORD = re.compile(rf"(?:<<[\t\r ]*|[^{SPACES}])+")
_AS_WRITTEN = Mode(keeps_quotes=True, keeps_escapes=True)


@frozen
class HeredocName:
    """`<<NAME`: what it says, and where it stands in the line. It is to `expand` unless a part of the name is quoted."""

    name: str
    expand: bool
    chomp: bool
    start: int
    end: int


def heredoc_names(text: str) -> list[HeredocName]:
    """The here-documents that a line names. Raises WordError for a name that cannot be read."""
    if not _HIDING.search(text):
        plain = (match for match in _SHELL_WORD.finditer(text) if "<<" in match[0])
        return [named for match in plain if (named := heredoc_name(match[0], start=match.start(), end=match.end()))]
    try:
        words = placed_words(pieces(text, {}, _AS_WRITTEN, keeps_unset=True))
    except WordError:
        return []
    return [named for word, start, end in words if (named := heredoc_name(word, start=start, end=end))]


def heredoc_name(word: str, *, start: int = 0, end: int = 0) -> HeredocName | None:
    """What a word names: it begins with `<<`, or with a number and `<<`. Raises WordError."""
    match = _HEREDOC.match(word)
    if match is None or not match[3]:
        return None
    if not _HIDING.search(match[3]) and not _SPACE.search(match[3]):
        return HeredocName(match[3], True, bool(match[2]), start, end)
    plain = placed_words(pieces(match[3], {}, Mode(), keeps_unset=True))
    if len(plain) != 1:
        return None
    written = placed_words(pieces(match[3], {}, Mode(keeps_quotes=True), keeps_unset=True))
    name = plain[0][0]
    return HeredocName(name, _quotes(name) == _quotes(written[0][0]), bool(match[2]), start, end)


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


def without_tabs(content: str) -> str:
    """A body without the tabs that lead its lines, as `<<-` wants it."""
    return _TABS.sub("", content)
