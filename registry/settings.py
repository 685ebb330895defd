"""What the user has set about registries: mirrors, other places, blocked and insecure ones. Read from TOML files.

`/etc/pybuild/config.toml`, then `$XDG_CONFIG_HOME/pybuild/config.toml` (`~/.config`), whose entries take the place of those with
the same prefix; or `$PYBUILD_CONFIG` alone. tomllib is imported only when there is such a file. The rules are those of
containers-registries.conf(5), under our own names.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pybuild.registry.document import Fields
from pybuild.registry.errors import Blocked, InvalidDocument, InvalidReference, RegistryError
from pybuild.registry.reference import Reference
from pybuild.values import frozen

_SYSTEM = Path("/etc/pybuild/config.toml")
_KEYS = ("prefix", "location", "insecure", "blocked", "mirrors")
_MIRROR_KEYS = ("location", "insecure", "only")


@frozen
class Mirror:
    """A place that is asked before the registry itself; `only` is `digests` or `tags` when it is not asked for all."""

    location: str
    insecure: bool = False
    only: str = ""


@frozen
class Rule:
    """What holds for all names that begin with `prefix`: a host, a host and a path, or `*.host`. The longest wins."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    source: str = ""

    def matched(self, name: str) -> str | None:
        """The part of a name, `host/path`, that the prefix covers; None when it is another's."""
        if self.prefix.startswith("*."):
            host = name.partition("/")[0]
            return host if host.partition(":")[0].endswith(self.prefix[1:]) else None
        return self.prefix if name == self.prefix or name.startswith(f"{self.prefix}/") else None


@frozen
class Place:
    """A repository as it is really asked for."""

    registry: str
    path: str
    insecure: bool = False
    is_mirror: bool = False


def load(environ: Mapping[str, str]) -> tuple[Rule, ...]:
    """All rules. Raises InvalidDocument for a file that makes no sense, and RegistryError for one that cannot be read."""
    if named := environ.get("PYBUILD_CONFIG"):
        return _read(Path(named), must_exist=True)
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    rules = {rule.prefix: rule for path in (_SYSTEM, Path(home, "pybuild", "config.toml")) for rule in _read(path)}
    return tuple(rules.values())


def places(reference: Reference, rules: Iterable[Rule], *, insecure: bool = False) -> tuple[Place, ...]:
    """Where to look for an image: mirrors, then the registry, which `insecure` is about and pushes go to. Raises Blocked."""
    name = reference.repository
    fitting = [(len(rule.prefix.removeprefix("*")), rule, part) for rule in rules if (part := rule.matched(name)) is not None]
    if not fitting:
        return (Place(reference.registry, reference.path, insecure),)
    _, rule, part = max(fitting, key=lambda item: item[0])
    if rule.blocked:
        raise Blocked(f"{reference.familiar}: {rule.prefix} is blocked", hint=f"{rule.source} says so")
    rest = name.removeprefix(part)
    kind = "digests" if reference.digest else "tags"
    found = [
        _place(mirror.location + rest, rule, insecure=mirror.insecure, is_mirror=True)
        for mirror in rule.mirrors
        if mirror.only in ("", kind)
    ]
    found.append(_place((rule.location or part) + rest, rule, insecure=insecure or rule.insecure, is_mirror=False))
    return tuple(found)


def _place(name: str, rule: Rule, *, insecure: bool, is_mirror: bool) -> Place:
    try:
        reference = Reference.parse(f"{name}:latest")
    except InvalidReference as error:
        raise InvalidDocument(f"{rule.source}: {rule.prefix}: {error}", hint="see 'location' there") from error
    return Place(reference.registry, reference.path, insecure, is_mirror)


def _read(path: Path, *, must_exist: bool = False) -> tuple[Rule, ...]:
    try:
        content = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        if must_exist:
            raise RegistryError(f"cannot read {path}: {error.strerror}", hint="PYBUILD_CONFIG names it") from error
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    import tomllib

    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise InvalidDocument(f"{path}: {error}", hint="it is not TOML") from error
    _check_keys(document, ("registry",), str(path))
    fields = Fields(document, str(path))
    return tuple(_rule(item, f"{path}: registry[{number}]") for number, item in enumerate(fields.get("registry", list, [])))


def _rule(item: object, where: str) -> Rule:
    fields = Fields(item, where)
    _check_keys(item, _KEYS, where)
    prefix, location = fields.text("prefix") or "", fields.text("location") or ""
    if not prefix:
        prefix = location
    if not prefix:
        raise InvalidDocument(f"{where}: prefix is missing", hint='write prefix = "docker.io", for one')
    is_pattern = prefix.startswith("*.")
    _check_location(prefix.removeprefix("*."), f"{where}: prefix")
    if location:
        _check_location(location, f"{where}: location")
    if is_pattern and location:
        raise InvalidDocument(f"{where}: a prefix with * has no location", hint="give one entry for each host")
    mirrors = tuple(_mirror(each, f"{where}: mirrors[{number}]") for number, each in enumerate(fields.get("mirrors", list, [])))
    insecure, blocked = fields.get("insecure", bool, False), fields.get("blocked", bool, False)
    return Rule(prefix, location, insecure, blocked, mirrors, where.partition(": ")[0])


def _mirror(item: object, where: str) -> Mirror:
    if isinstance(item, str):
        item = {"location": item}
    fields = Fields(item, where)
    _check_keys(item, _MIRROR_KEYS, where)
    location, only = fields.need("location", str), fields.get("only", str, "")
    _check_location(location, f"{where}: location")
    if only not in ("", "digests", "tags"):
        raise InvalidDocument(f"{where}: only is {only!r}", hint="there are digests and tags")
    return Mirror(location, fields.get("insecure", bool, False), only)


def _check_keys(document: object, known: tuple[str, ...], where: str) -> None:
    for key in document if isinstance(document, dict) else ():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise InvalidDocument(f"{where}: nothing is called {key!r} here", hint=hint)


def _check_location(text: str, where: str) -> None:
    """Raise InvalidDocument for what is no host, with or without a path."""
    host, slash, _ = text.partition("/")
    try:
        # With a port any text is a host's name: without, only what has a dot, or is localhost.
        if Reference.parse(f"{text if slash else f'{text}/x'}:latest").registry == host:
            return
    except InvalidReference:
        pass
    raise InvalidDocument(f"{where}: {text!r} is no HOST[:PORT][/PATH]", hint="such as registry.example.com:5000/hub")
