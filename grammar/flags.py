"""Flags: which instruction has which, and what is wrong with one. Pure."""

from __future__ import annotations

from pybuild.grammar.errors import DockerfileError, WordError, nearest
from pybuild.grammar.heads import RawFlag
from pybuild.grammar.instructions import Flag, Word
from pybuild.grammar.lexer import LineLexer
from pybuild.grammar.mounts import check_mount, parse_device

FLAGS: dict[str, tuple[str, ...]] = {
    "ADD": ("chown", "chmod", "link", "checksum", "keep-git-dir", "unpack", "exclude"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "FROM": ("platform",),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
    "RUN": ("mount", "network", "security", "device"),
}
_MOST = 10_000
_BOOLEAN = ("link", "parents", "keep-git-dir", "unpack")
_REPEATED = ("exclude", "mount", "device")
_CHOICES = {"network": ("default", "none", "host"), "security": ("sandbox", "insecure")}
# What BuildKit does not look at: the flags of these, and of HEALTHCHECK NONE, mean nothing and are no error.
_UNCHECKED = ("ARG", "STOPSIGNAL")


def read_flags(lexer: LineLexer) -> tuple[Flag, ...]:
    """The flags of an instruction. Raises DockerfileError."""
    found: list[Flag] = []
    if len(lexer.head.flags) > _MOST:
        message = f"{lexer.keyword} with more than {_MOST} flags"
        raise lexer.wrong(message, lexer.head.start, lexer.head.rest, "split it into several")
    is_none = lexer.keyword == "HEALTHCHECK" and [arg.upper() for arg in lexer.args[:1]] == ["NONE"]
    for raw in lexer.head.flags:
        flag = _flag(lexer, raw)
        if lexer.keyword not in _UNCHECKED and not is_none:
            _check(lexer, flag, raw, found)
        found.append(flag)
    return tuple(found)


def _flag(lexer: LineLexer, raw: RawFlag) -> Flag:
    written = lexer.text[raw.start : raw.end]
    name, equals, text = raw.text[2:].partition("=")
    start = raw.start + written.find("=") + 1
    value = Word(text, lexer.line.span(start, raw.end)) if equals else None
    return Flag(name, value, lexer.line.span(raw.start, raw.end), written)


def _check(lexer: LineLexer, flag: Flag, raw: RawFlag, before: list[Flag]) -> None:
    name, keyword = flag.name, lexer.keyword
    known = FLAGS.get(keyword, ())

    def wrong(message: str, hint: str) -> DockerfileError:
        return lexer.wrong(message, raw.start, raw.end, hint)

    if name not in known:
        close = nearest(name, known)
        there = f"{keyword} has {', '.join(f'--{each}' for each in known)}" if known else f"{keyword} has no flags"
        raise wrong(f"{keyword} has no flag --{name}", f"did you mean --{close}?" if close else there)
    if name not in _REPEATED and any(other.name == name for other in before):
        raise wrong(f"--{name} twice", "remove one of them")
    if name in _BOOLEAN:
        if flag.value is not None and flag.value.text.lower() not in ("true", "false"):
            raise wrong(f"--{name} is true or false, not {flag.value.text!r}", f"write --{name}")
        return
    if flag.value is None:
        raise wrong(f"--{name} without a value", f"write --{name}=VALUE")
    text = flag.value.text
    if name in _CHOICES and text not in _CHOICES[name]:
        close = nearest(text, _CHOICES[name])
        hint = f"did you mean {close}?" if close else f"there are {', '.join(_CHOICES[name])}"
        raise wrong(f"--{name} cannot be {text!r}", hint)
    if name in ("mount", "device"):
        try:
            check_mount(text) if name == "mount" else parse_device(text)
        except WordError as error:
            place = raw.end - len(text)
            start, end = place + error.span.column - 1, place + error.span.end_column - 1
            if not lexer.text.startswith(text, place):
                start, end = raw.start, raw.end
            raise lexer.wrong(error.message, start, min(end, raw.end), error.hint) from None
