"""The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and escapes, matched in linear steps. Pure.

BuildKit makes a regular expression of a pattern, so a dot there is a `?` here and neither matches the end of a line; and the
text of `${x//p/r}` is a template of Go's regexp, in which `$0` is what was found and other names are nothing. Python's own
expressions try again at every star; here each star, but the last, takes the first place where what follows it fits, and stays
there. That finds the same places: a later one could not let more fit behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pybuild.grammar.blanks import name_length

# What fits into a line of BuildKit's, and what takes a second at the worst.
_LONGEST = 65_536
_MOST_WORK = 200_000_000
_ESCAPED = "*?\\/}"


def without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """`${x#p}`, or `${x##p}`. Raises ValueError for a pattern that means nothing."""
    match = _compiled(pattern, value, is_greedy=longest).match(value)
    return value[match.end() :] if match else value


def without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """`${x%p}`, or `${x%%p}`. Raises ValueError for a pattern that means nothing."""
    return without_prefix(value[::-1], _reversed(pattern), longest=longest)[::-1]


def replaced(value: str, pattern: str, text: str, *, everywhere: bool) -> str:
    """`${x/p/text}`, or `${x//p/text}`. Raises ValueError for a pattern that means nothing."""
    parts: list[str] = []
    end = 0
    for match in _matches(pattern, value):
        # Go leaves out an empty match that touches the one before it.
        if parts and match.start() == match.end() == end:
            continue
        parts += [value[end : match.start()], _filled(text, match[0]) if everywhere else text]
        end = match.end()
        if not everywhere:
            break
    return "".join((*parts, value[end:]))


def _matches(pattern: str, value: str) -> Iterator[re.Match[str]]:
    expression = _compiled(pattern, value, is_greedy=True)
    head = re.compile(_parts(pattern)[0])
    position = 0
    while position <= len(value) and (start := head.search(value, position)):
        match = expression.match(value, start.start())
        if match is not None:
            yield match
            position = max(match.end(), position + 1)
        elif (position := value.find("\n", start.start()) + 1) == 0:
            # What did not fit behind the first place of the head in this line does not fit behind a later one either.
            return


def _compiled(pattern: str, value: str, *, is_greedy: bool) -> re.Pattern[str]:
    if len(pattern) > _LONGEST or len(pattern) * len(value) > _MOST_WORK:
        raise ValueError("a pattern that is too long")
    parts = _parts(pattern)
    expression = parts[0]
    for place, part in enumerate(parts[1:], 2):
        star = ".*" if is_greedy and place == len(parts) else ".*?"
        expression += f"(?>{star}{part})"
    return re.compile(expression)


def _parts(pattern: str) -> list[str]:
    """What stands between the stars, as expressions."""
    parts = [[""]]
    pattern = pattern.removeprefix("\ufeff")
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "*":
            parts.append([])
        elif character == "?":
            parts[-1].append(".")
        else:
            if character == "\\":
                position += 1
                character = pattern[position : position + 1]
                if not character or character not in _ESCAPED:
                    raise ValueError(f"\\{character} means nothing in a pattern")
            parts[-1].append(re.escape(character))
        position += 1
    return ["".join(part) for part in parts]


def _reversed(pattern: str) -> str:
    """The pattern from its end, with what is escaped left in order."""
    return "".join(reversed(re.findall(r"\\.|.", pattern, re.DOTALL)))


def _filled(template: str, found: str) -> str:
    """The template with `$0` and `${0}` as what was found, `$$` as a dollar, and other names as nothing."""
    if "$" not in template:
        return template
    return _REFERENCE.sub(lambda match: _meaning(match, found), template)


_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")


def _meaning(match: re.Match[str], found: str) -> str:
    if match[0] == "$$":
        return "$"
    written: str = match[1] or match[2]
    name = written[: name_length(written)]
    if not name or (match[2] and name != written):
        return match[0]
    return (found if name == "0" else "") + written[len(name) :]
