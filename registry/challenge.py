"""What a registry demands in a `WWW-Authenticate` header. Pure text. Source: RFC 9110, 11.6.1; distribution, auth/token."""

from __future__ import annotations

import re

from pybuild.values import frozen

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*,?')
_SCHEME = re.compile(rf"\s*({_TOKEN})(?:\s+|\s*,|\Z)(?!\s*=)")


@frozen
class Challenge:
    """One way to authenticate: `scheme` in lower case, and its parameters."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def parameter(self, name: str) -> str | None:
        """One parameter's value."""
        return dict(self.parameters).get(name)


def parse(header: str) -> tuple[Challenge, ...]:
    """The challenges of a header, in its order. What cannot be read ends the list: headers are not worth an error."""
    challenges: list[Challenge] = []
    position = 0
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters: list[tuple[str, str]] = []
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.append((name.lower(), value))
            position = parameter.end()
        challenges.append(Challenge(scheme[1].lower(), tuple(parameters)))
    return tuple(challenges)


def preferred(header: str) -> Challenge | None:
    """The challenge to answer: bearer before basic, nothing else."""
    by_scheme = {challenge.scheme: challenge for challenge in reversed(parse(header))}
    return by_scheme.get("bearer") or by_scheme.get("basic")
