"""`# syntax=`: which frontend a Dockerfile asks for. pybuild is the frontend, so this decides nothing and may be worth a warning.

BuildKit looks for it in three forms, so that a file in another language can name its frontend: `# syntax=`, `// syntax=` and
a JSON object with the key "syntax" (parser/directives.go). A file in one of the other two is no Dockerfile.
"""

from __future__ import annotations

import json
import re

from pybuild.grammar.blanks import SPACES
from pybuild.grammar.instructions import Notice
from pybuild.grammar.source import Source, Span

# The language that pybuild knows: the newest docker/dockerfile whose documentation was read.
KNOWN = (1, 26)
_OURS = re.compile(r"(?:(?:docker\.io|index\.docker\.io|registry-1\.docker\.io)/)?docker/dockerfile(?:-upstream)?")
_VERSION = re.compile(r"v?([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:[.-].*)?")
_TIMELESS = ("latest", "labs", "experimental")
_OTHER_FORM = re.compile(r"//[^\S\n]*syntax[\t\f\r ]*=[\t\f\r ]*(\S+)", re.IGNORECASE)


def frontend_notice(source: Source, directives: tuple[tuple[str, str], ...]) -> Notice | None:
    """What to tell a user about the frontend that the directives name: one newer than we know, or another one."""
    image = dict(directives).get("syntax", "").partition(" ")[0]
    if not image or (message := _about(image)) is None:
        return None
    known = ".".join(map(str, KNOWN))
    return Notice(message, f"it is read as docker/dockerfile:{known}, which pybuild knows", _place(source))


def is_foreign(image: str) -> bool:
    """Whether an image is another frontend than docker/dockerfile."""
    return _OURS.fullmatch(_split(image)[0]) is None


def other_form(text: str) -> str | None:
    """The frontend that a text names in a form that no Dockerfile has."""
    text = text.removeprefix("\ufeff")
    if text.startswith("#!"):
        text = text.partition("\n")[2]
    if match := _OTHER_FORM.match(text):
        return match[1]
    # A whole JSON document is read only if there is reason to.
    if not text.lstrip(SPACES).startswith("{") or '"syntax"' not in text:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    name = found.get("syntax") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def _about(image: str) -> str | None:
    name, tag = _split(image)
    if is_foreign(image):
        return f"this file asks for the frontend {image}"
    if not tag or tag in _TIMELESS:
        return None
    version = _VERSION.fullmatch(tag)
    if version is None:
        return f"there is no telling which version of the language {name}:{tag} is"
    # docker/dockerfile:1 is the newest 1.x, and so are we.
    asked = (int(version[1]), int(version[2])) if version[2] else (int(version[1]), 0)
    return f"this file asks for {name}:{tag}, which is newer" if asked > KNOWN else None


def _split(image: str) -> tuple[str, str]:
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}", tag


def _place(source: Source) -> Span:
    """The line of the directive."""
    for number, line in enumerate(source.text.split("\n", 8)[:8], 1):
        if line.removeprefix("\ufeff").lstrip("# \t").lower().startswith("syntax"):
            return Span(number, 1, number, len(line.rstrip("\r")) + 1)
    return Span(1, 1, 1, 1)
