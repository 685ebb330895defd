"""What counts as blank: two sets, as BuildKit has them, and neither is Python's."""

from __future__ import annotations

# Go's unicode.IsSpace: around lines, and between the words that quotes hold together. Python has four control characters more.
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Between a keyword, flags and plain words.
BLANKS = "\t\v\f\r "
