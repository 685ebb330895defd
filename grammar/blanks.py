"""What counts as blank, and as a part of a name: as Go has it, which is not Python's way."""

from __future__ import annotations

# Go's unicode.IsSpace: around lines, and between the words that quotes hold together. Python has four control characters more.
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Between a keyword, flags and plain words.
BLANKS = "\t\v\f\r "


def name_length(text: str) -> int:
    """How many of the characters that Python takes for those of a word Go takes for letters and digits."""
    if text.isascii():
        return len(text)
    # A superscript two is a number, and neither.
    ends = (place for place, one in enumerate(text) if not (one.isalpha() or one.isdecimal() or one == "_"))
    return next(ends, len(text))
