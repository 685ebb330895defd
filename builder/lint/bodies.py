"""The checks of what is inside of stages. Each yields what it finds in a View. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from pybuild.builder.lint.findings import Edit, Hit
from pybuild.builder.lint.heads import keyword
from pybuild.builder.lint.seen import Line, View
from pybuild.grammar import Span
from pybuild.grammar.instructions import Arg, Copy, Instruction, Pair, Pairs, Start, Word, Words

# Whole words between underscores, as secrets are named, and those that show that the name stands for no secret.
_SECRET = frozenset(("apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"))
_NO_SECRET = frozenset(("public", "file", "version"))
_AUTHORS = "org.opencontainers.image.authors"
_REMOTE = ("http://", "https://", "git://", "git@", "ssh://")


def _hit(
    line: Line, place: Span, message: str, hint: str | None = None, edits: tuple[Edit, ...] = (), at: Instruction | None = None
) -> Hit:
    """A hit in a line; one in a trigger is at the FROM that brought it, and nothing here can mend it."""
    if line.place is not None:
        return Hit(line.place, f"{message} (ONBUILD of the base)", hint)
    return Hit(place, message, hint, edits, at or line.instruction)


def json_args_recommended(view: View) -> Iterator[Hit]:
    """CMD and ENTRYPOINT are in the JSON form, unless SHELL says what the shell is."""
    for line in view.lines:
        command = line.instruction
        if isinstance(command, Start) and command.keyword != "SHELL" and not command.command.is_json and not line.shell:
            message = f"{keyword(command)} in the shell form: a shell is started first, and it keeps signals to itself"
            hint = f'write {keyword(command)} ["PROGRAM", "ARGUMENT"], or name the shell with SHELL'
            yield _hit(line, _place(command), message, hint)


def maintainer_deprecated(view: View) -> Iterator[Hit]:
    """MAINTAINER is not used."""
    for stage in view.dockerfile.stages:
        for instruction in stage.instructions:
            if instruction.keyword == "MAINTAINER":
                yield Hit(_place(instruction), "MAINTAINER is deprecated", f"write LABEL {_AUTHORS}=...", at=instruction)


def workdir_relative_path(view: View) -> Iterator[Hit]:
    """The first WORKDIR does not depend on the base image's."""
    for line in view.lines:
        instruction = line.instruction
        if instruction.keyword != "WORKDIR" or not isinstance(instruction, Words) or line.has_workdir:
            continue
        path, word = line.values[0], instruction.words[0]
        if path is None or path.startswith("/"):
            continue
        edits: tuple[Edit, ...] = ()
        if line.directory is not None and path == word.text and path:
            whole = posixpath.normpath(posixpath.join(line.directory, path))
            edits = (Edit(word.span, f"{whole}/" if path.endswith("/") and whole != "/" else whole),)
        hint = f"write {edits[0].text}" if edits else "write a path that begins with /"
        yield _hit(line, word.span, f"WORKDIR {path} depends on the base image's directory", hint, edits)


def undefined_var(view: View) -> Iterator[Hit]:
    """A variable is defined before it is used."""
    for line in view.lines:
        for missing in line.missing if line.is_known else ():
            hint = f"did you mean ${missing.close}?" if missing.close else f"write ARG {missing.name} above, or escape the $"
            yield _hit(line, missing.span, f"${missing.name} is not defined here", hint)


def multiple_instructions_disallowed(view: View) -> Iterator[Hit]:
    """Of those that count once, a stage has one."""
    for line in view.lines:
        before = line.before
        if before is not None and line.instruction.keyword in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
            message = f"this {keyword(line.instruction)} has no effect: another one follows in the same stage"
            yield _hit(line, before, message, f"remove it; line {line.instruction.span.line} is what counts")


def legacy_key_value_format(view: View) -> Iterator[Hit]:
    """ENV and LABEL have a `=`."""
    for line in view.lines:
        instruction = line.instruction
        if isinstance(instruction, Pairs) and instruction.is_legacy:
            pair, word = instruction.pairs[0], keyword(instruction)
            message = f"{word} {pair.name.text} without '=': the old form"
            yield _hit(line, instruction.span, message, f"write {word} NAME=VALUE", _with_equals(pair, view.dockerfile.escape))


def _with_equals(pair: Pair, escape: str) -> tuple[Edit, ...]:
    """The edits that put `=` in place of the blank, and quotes around a value that has blanks."""
    name, value = pair.name.span, pair.value.span
    text = pair.value.text
    if not re.fullmatch(r"[A-Za-z0-9_.\-/]+", pair.name.text) or name.end_line != value.line:
        return ()
    between = Span(name.end_line, name.end_column, value.line, value.column)
    if not any(character in text for character in ("'", '"', escape)):
        if not re.search(r"\s", text):
            return (Edit(between, "="),)
        return (Edit(between, '="'), Edit.insertion(value.end_line, value.end_column, '"'))
    # Quotes and escapes mean the same in both forms, as long as no blank outside of them ends the word.
    return (Edit(between, "="),) if not re.search(r"\s", text) and _is_closed(text, escape) else ()


def _is_closed(text: str, escape: str) -> bool:
    quote, position = "", 0
    while position < len(text):
        character = text[position]
        if character == escape and quote != "'":
            position += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        position += 1
    return not quote and position == len(text)


def secrets_used_in_arg_or_env(view: View) -> Iterator[Hit]:
    """No ARG or ENV is named as a secret is."""
    for line in view.lines:
        instruction = line.instruction
        named: list[tuple[str | None, Span]] = []
        if isinstance(instruction, Arg):
            named = [(definition.name, definition.span) for definition in instruction.definitions]
        elif isinstance(instruction, Pairs) and instruction.keyword == "ENV":
            named = list(zip(line.values[::2], (pair.name.span for pair in instruction.pairs), strict=True))
        for name, span in named:
            words = frozenset((name or "").lower().split("_"))
            if words & _SECRET and not words & _NO_SECRET:
                message = f"{instruction.keyword} {name} looks like a secret, and whoever has the image can read it"
                yield _hit(line, span, message, "hand it to the step that needs it: RUN --mount=type=secret,id=...")


def copy_ignored_file(view: View) -> Iterator[Hit]:
    """What COPY and ADD name is not hidden by .dockerignore."""
    ignore = view.known.ignore
    # With exceptions, something under an excluded directory may be there.
    if ignore is None or not ignore.patterns or ignore.has_exceptions:
        return
    for line in view.lines:
        copy = line.instruction
        if not isinstance(copy, Copy) or (copy.keyword == "COPY" and copy.flag("from") is not None):
            continue
        for word, value in zip(copy.sources, line.values, strict=True):
            if value is None or value.startswith(_REMOTE):
                continue
            # A leading slash means the context's root.
            path = posixpath.normpath(value).lstrip("/") or "."
            whole = path == "."
            if whole and not any(pattern.text in ("*", "**", "**/*") for pattern in ignore.patterns):
                continue
            culprit = ignore.culprit(path)
            if culprit is not None:
                where = f"{ignore.name}:{culprit.line} ({culprit.text})"
                message = f"{keyword(copy)} {posixpath.normpath(value)}: {where} hides it"
                yield _hit(line, word.span, message, "name another file, or take it out of the patterns")


def expose_proto_casing(view: View) -> Iterator[Hit]:
    """EXPOSE has its protocols in lower case."""
    for line, port in _ports(view):
        protocol = _container_port(port).partition("/")[2]
        if protocol and protocol != protocol.lower():
            message = f"EXPOSE {port}: the protocol is not in lower case"
            place, edits = _port_edits(line, port, port[: -len(protocol)] + protocol.lower())
            yield _hit(line, place, message, f"write {protocol.lower()}", edits)


def expose_invalid_format(view: View) -> Iterator[Hit]:
    """EXPOSE has a container's ports and nothing of the host's."""
    for line, port in _ports(view):
        own = _container_port(port)
        if own != port and own.partition("/")[0]:
            message = f"EXPOSE {port}: an address or a port of the host has no place here"
            place, edits = _port_edits(line, port, own)
            yield _hit(line, place, message, f"write {own}, and publish it when the container is started", edits)


def _ports(view: View) -> Iterator[tuple[Line, str]]:
    for line in view.lines:
        if line.instruction.keyword == "EXPOSE":
            for port in line.values:
                if port:
                    yield line, port


def _container_port(port: str) -> str:
    return port.rpartition(":")[2]


def _port_edits(line: Line, port: str, wanted: str) -> tuple[Span, tuple[Edit, ...]]:
    """Where a port was written, and the edit, if it was written as it is."""
    assert isinstance(line.instruction, Words)
    word: Word | None = next((word for word in line.instruction.words if word.text == port), None)
    return (line.instruction.span, ()) if word is None else (word.span, (Edit(word.span, wanted),))


def _place(instruction: Instruction) -> Span:
    """An instruction on one line; of a longer one, its keyword."""
    span = instruction.span
    if span.line == span.end_line:
        return span
    return Span(span.line, span.column, span.line, span.column + len(keyword(instruction)))
