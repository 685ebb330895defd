"""The values of RUN --mount and --device: fields of one CSV line, as typed values. Pure.

BuildKit reads the fields of a mount before anything in them is expanded, then expands each value and only then knows what it
says: a comma in a variable splits nothing. Which keys belong to which type, and what is missing, is checked here as there
(instructions/commands_runmount.go, commands_rundevice.go); what a missing source, target or id means is the planner's matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pybuild.grammar.errors import WordError, nearest
from pybuild.grammar.source import Source, Span
from pybuild.values import frozen, replace

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARINGS = ("shared", "private", "locked")
_KEYS = (
    *("type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw", "required"),
    *("size", "id", "sharing", "mode", "uid", "gid", "env"),
)
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SIZE = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?) ?(?:([kmgtp])(?:i?b)?|b)?", re.IGNORECASE)
_UINT32 = 0xFFFFFFFF

Expand = Callable[[str], str]


@frozen
class Mount:
    """One --mount. A text is "" and a number None where the key was not given; `size` is bytes, 0 for no limit.

    `origin` is the key `from`. `env` is None without the key. `is_read_only` has the type's default: true for bind, secret
    and ssh.
    """

    type: str
    span: Span
    source: str = ""
    target: str = ""
    origin: str = ""
    id: str = ""
    sharing: str = ""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int = 0
    env: str | None = None
    is_read_only: bool = True
    is_required: bool = False


@frozen
class Device:
    """One --device: a CDI name such as `vendor.com/class=name`."""

    name: str
    is_required: bool


@frozen
class _Field:
    """One field of the line; an error about it marks it."""

    text: str
    line: str
    start: int
    end: int

    def wrong(self, message: str, hint: str | None = None) -> WordError:
        span = Span(1, self.start + 1, 1, max(self.end, self.start + 1) + 1)
        return WordError(message, span=span, source=Source("word", self.line), hint=hint)


def check_mount(text: str) -> None:
    """What can be known of a mount before its values are expanded. Raises WordError."""
    for field in _fields(text):
        key, equals, value = field.text.partition("=")
        if equals and key.lower() == "from" and 0 <= value.find("$") < len(value) - 1:
            hint = "give the image a stage of its own, FROM IMAGE AS NAME, and use NAME"
            raise field.wrong("a mount's from is not expanded", hint)


def mount_origin(text: str) -> str:
    """What the key `from` says, "" without it, before anything is expanded. Raises WordError."""
    check_mount(text)
    pairs = (field.text.partition("=") for field in _fields(text))
    return next((value for key, equals, value in reversed(list(pairs)) if equals and key.lower() == "from"), "")


def parse_mount(text: str, *, span: Span, expand: Expand | None = None) -> Mount:
    """A mount from the flag's value as it is written; `expand` is applied to the value of each key.

    Raises WordError whose span is inside `text`, and whatever `expand` raises.
    """
    mount = Mount("bind", span)
    is_read_only: bool | None = None
    for field in _fields(text):
        key, equals, value = field.text.partition("=")
        key = key.lower()
        if not equals:
            if key in ("readonly", "ro", "readwrite", "rw"):
                is_read_only = key in ("readonly", "ro")
                continue
            if key != "required":
                close = nearest(key, _KEYS)
                hint = f"write {close or field.text or 'KEY'}=VALUE"
                raise field.wrong(f"{field.text!r} has no value", hint)
            value = "true"
        elif expand is not None:
            value = expand(value)
        if key in ("readonly", "ro", "readwrite", "rw"):
            is_read_only = _boolean(field, key, value) is (key in ("readonly", "ro"))
        else:
            mount = _with(mount, field, key, value)
    if is_read_only is None:
        is_read_only = mount.type not in ("cache", "tmpfs")
    mount = replace(mount, is_read_only=is_read_only)
    _check(mount, _Field(text, text, 0, len(text)))
    return mount


def _with(mount: Mount, field: _Field, key: str, value: str) -> Mount:
    match key:
        case "type":
            if value.lower() not in TYPES:
                raise field.wrong(f"no such type of mount: {value!r}", _choice(value, TYPES))
            return replace(mount, type=value.lower())
        case "from":
            return replace(mount, origin=value)
        case "source" | "src":
            return replace(mount, source=value)
        case "target" | "dst" | "destination":
            return replace(mount, target=value)
        case "id":
            return replace(mount, id=value)
        case "env":
            return replace(mount, env=value)
        case "required":
            if mount.type not in ("secret", "ssh"):
                raise field.wrong(f"a {mount.type} mount has no key required", "type=secret and type=ssh have it, before it")
            return replace(mount, is_required=_boolean(field, key, value))
        case "size":
            if mount.type != "tmpfs":
                raise field.wrong(f"a {mount.type} mount has no size", "type=tmpfs has one, before it")
            return replace(mount, size=_size(field, value))
        case "sharing":
            if value.lower() not in SHARINGS:
                raise field.wrong(f"no such sharing: {value!r}", _choice(value, SHARINGS))
            return replace(mount, sharing=value.lower())
        case "mode":
            return replace(mount, mode=_number(field, key, value, 8))
        case "uid":
            return replace(mount, uid=_number(field, key, value, 10))
        case "gid":
            return replace(mount, gid=_number(field, key, value, 10))
        case _:
            raise field.wrong(f"a mount has no key {key!r}", _choice(key, _KEYS))


def _check(mount: Mount, whole: _Field) -> None:
    if mount.type not in ("secret", "ssh", "cache"):
        for name, value in (("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)):
            if value is not None:
                raise whole.wrong(f"a {mount.type} mount has no {name}", "type=cache, secret and ssh have it")
    if mount.type == "secret":
        if mount.origin:
            raise whole.wrong("a secret mount has no from", "a secret comes from the command line: write id=NAME")
        if not (mount.source or mount.target or mount.id):
            raise whole.wrong("a secret mount without an id", "write id=NAME")
        if mount.source and mount.id:
            raise whole.wrong("a secret mount with a source and an id", "they are the same: remove one of them")
    if mount.sharing and mount.type != "cache":
        raise whole.wrong(f"a {mount.type} mount has no sharing", "type=cache has it")


def parse_device(text: str) -> Device:
    """A device from the flag's value. Raises WordError whose span is inside `text`."""
    name, is_required = "", False
    for field in _fields(text):
        key, equals, value = field.text.partition("=")
        key = key.lower()
        if key == "required":
            is_required = _boolean(field, key, value) if equals else True
        elif key == "name" and equals:
            if name:
                raise field.wrong(f"the device has a name already: {name}", "remove one of them")
            name = value
        elif not name:
            # A CDI name has an equals sign of its own: vendor.com/class=name.
            name = field.text
        elif equals:
            raise field.wrong(f"a device has no key {key!r}", _choice(key, ("name", "required")))
        else:
            raise field.wrong(f"{field.text!r} has no value", "write name=NAME, or required")
    return Device(name, is_required)


def _choice(value: str, known: tuple[str, ...]) -> str:
    close = nearest(value.lower(), known)
    return f"did you mean {close}?" if close else f"there are {', '.join(known)}"


def _boolean(field: _Field, key: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise field.wrong(f"{key} is true or false, not {value!r}", f"write {key}, or {key}=false")
    return value in _TRUE


def _number(field: _Field, key: str, value: str, base: int) -> int:
    digits = "01234567" if base == 8 else "0123456789"
    # A long row of digits is not even looked at: Python's int() takes quadratic time.
    if value and len(value) < 32 and not value.strip(digits) and (number := int(value, base)) <= _UINT32:
        return number
    hint = "write it in octal, such as 0755" if base == 8 else f"write a number, such as {key}=1000"
    raise field.wrong(f"not a {key}: {value!r}", hint)


def _size(field: _Field, value: str) -> int:
    """Bytes from `64m`, `1.5 GiB`, `4096`. Source: docker/go-units, RAMInBytes."""
    match = _SIZE.fullmatch(value)
    size = float(match[1]) * _UNITS.get((match[2] or "").lower(), 1) if match else -1.0
    if not 0 <= size < 1 << 63:
        raise field.wrong(f"not a size: {value!r}", "write it as 64m, 1g or a number of bytes")
    return int(size)


def _fields(line: str) -> list[_Field]:
    """The fields of a line of CSV: between commas; in double quotes, which are doubled inside, a comma is text."""
    if not line:
        raise _Field(line, line, 0, 0).wrong("nothing behind the equals sign", "write type=TYPE,target=PATH")
    fields = []
    start = 0
    while True:
        if not line.startswith('"', start):
            end = line.find(",", start)
            end = len(line) if end < 0 else end
            text = line[start:end]
            if (quote := text.find('"')) >= 0:
                hint = "a field is in double quotes as a whole, or has none"
                raise _Field(text, line, start + quote, end).wrong("a double quote inside a field", hint)
        else:
            text, end = _quoted(line, start)
        fields.append(_Field(text, line, start, end))
        if end == len(line):
            return fields
        start = end + 1


def _quoted(line: str, start: int) -> tuple[str, int]:
    parts = []
    place = start + 1
    while (end := line.find('"', place)) >= 0:
        parts.append(line[place:end])
        if not line.startswith('"', end + 1):
            if end + 1 < len(line) and line[end + 1] != ",":
                raise _Field("", line, end + 1, len(line)).wrong("text behind the double quote", "a comma ends a field")
            return "".join(parts), end + 1
        parts.append('"')
        place = end + 2
    raise _Field("", line, start, len(line)).wrong("a double quote without its end", "close it")
