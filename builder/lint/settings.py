"""Which rules count: `skip=A,B;experimental=C;error=true`, from the directive `# check=`, a build argument or flags. Pure.

Source: BuildKit, linter.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pybuild.values import frozen, replace

ALL = "all"
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


@frozen
class Settings:
    """Rules to leave out, experimental rules to take in (`all` in either means every one), and whether a finding is an error."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    is_error: bool = False

    @classmethod
    def parse(cls, text: str) -> Settings:
        """Read `skip=A,B;experimental=C;error=true`, each part optional. Raises ValueError."""
        rules: dict[str, frozenset[str]] = {}
        is_error = False
        for part in text.strip().split(";", 2) if text.strip() else ():
            name, equals, value = part.partition("=")
            name, value = name.strip(), value.strip()
            if not equals or name not in ("skip", "experimental", "error"):
                raise ValueError(f"{part!r} is no option of check; there are skip=RULES, experimental=RULES and error=true")
            if name == "error":
                if value not in (*_TRUE, *_FALSE):
                    raise ValueError(f"error is true or false, not {value!r}")
                is_error = value in _TRUE
            else:
                rules[name] = frozenset(rule.strip() for rule in value.split(","))
        return cls(rules.get("skip", frozenset()), rules.get("experimental", frozenset()), is_error)

    def merged(self, other: Settings) -> Settings:
        """These, and what others skip and take in."""
        return Settings(self.skip | other.skip, self.experimental | other.experimental, self.is_error or other.is_error)

    def beneath(self, comments: Iterable[str]) -> Settings:
        """These, with the first `# check=` among an instruction's comments; one that cannot be read says nothing."""
        for comment in comments:
            match = re.match(r"(?i)check\s*=\s*(\S+)", comment)
            if match is None:
                continue
            try:
                local = Settings.parse(match[1])
            except ValueError:
                return self
            return replace(self.merged(local), is_error=self.is_error)
        return self

    def counts(self, rule: str, *, is_experimental: bool) -> bool:
        """Whether a rule is to be checked. Experimental rules know of `experimental` alone."""
        if is_experimental:
            return bool(self.experimental & {rule, ALL})
        return not self.skip & {rule, ALL}
