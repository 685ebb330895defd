"""Platforms: `os/architecture[/variant]`, as an image index and `--platform` name them.

Source: image-spec, image-index.md, and the GOOS and GOARCH names of Go.
"""

from __future__ import annotations

import os
import re

from pybuild.registry.errors import InvalidPlatform
from pybuild.values import frozen

_SYSTEMS = ("linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "illumos", "android", "wasi", "js")
# What a kernel or a user may call it: the name that Go has for it, and its variant. v8 is arm64 itself, and goes without saying.
_ARCHITECTURES = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "amd64": ("amd64", None),
    "aarch64": ("arm64", None),
    "arm64": ("arm64", None),
    "arm": ("arm", "v7"),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", None),
    "i386": ("386", None),
    "ppc64le": ("ppc64le", None),
    "s390x": ("s390x", None),
    "riscv64": ("riscv64", None),
    "ppc64": ("ppc64", None),
    "loong64": ("loong64", None),
    "mips64le": ("mips64le", None),
    "mips64": ("mips64", None),
    "wasm": ("wasm", None),
}
_USUAL = {("arm64", "v8"), ("amd64", "v1")}
# To compile an expression is dear, and most builds need none of these.
_PART = r"[A-Za-z0-9_.-]+"
# windows(10.0.17763)
_VERSIONED = r"([a-z0-9_-]+)\(([a-z0-9_.-]+)\)"


@frozen
class Platform:
    """What a program in the image runs on."""

    os: str
    architecture: str
    variant: str | None = None
    os_version: str | None = None

    @classmethod
    def here(cls) -> Platform:
        """The platform of this machine; the system is always linux, as images are."""
        machine = os.uname().machine.lower()
        architecture, variant = _ARCHITECTURES.get(machine, (machine, None))
        return cls("linux", architecture, variant)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os[(version)]/architecture[/variant]`, or one of the first two, in any spelling. Raises InvalidPlatform.

        Source: containerd/platforms, Parse and Normalize.
        """
        parts = text.lower().split("/")
        here = cls.here()
        version = None
        if match := re.fullmatch(_VERSIONED, parts[0]):
            parts[0], version = match.groups()
        if len(parts) > 3 or not all(re.fullmatch(_PART, part) for part in parts):
            hint = "write OS/ARCHITECTURE, such as linux/arm64"
            if "," in text:
                hint = "build for one after the other: 'pybuild manifest create' makes one of their images"
            raise InvalidPlatform(f"not a platform: {text!r}", hint=hint)
        if len(parts) == 1 and parts[0] not in _SYSTEMS:
            if parts[0] not in _ARCHITECTURES:
                hint = "write OS/ARCHITECTURE, such as linux/arm64"
                raise InvalidPlatform(f"not a platform: {text!r} is no system and no architecture", hint=hint)
            parts = [here.os, *parts]
        system = {"macos": "darwin"}.get(parts[0], parts[0])
        if len(parts) == 1:
            return cls(system, here.architecture, here.variant, version)
        architecture, variant = _ARCHITECTURES.get(parts[1], (parts[1], None))
        if len(parts) == 3:
            variant = f"v{parts[2]}" if parts[2].isdigit() else parts[2]
        return cls(system, architecture, None if (architecture, variant) in _USUAL else variant, version)

    def suits(self, wanted: Platform) -> bool:
        """Whether an image for this platform runs where `wanted` is asked for.

        A missing variant fits any: most images for arm64 do not name v8. Of a system's version the first three numbers count.
        """
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        if self.os_version and wanted.os_version and _build(self.os_version) != _build(wanted.os_version):
            return False
        return self.variant is None or wanted.variant is None or self.variant == wanted.variant

    @property
    def with_version(self) -> str:
        """Its name with the system's version, where that is known: `windows(10.0.17763)/amd64`."""
        system = f"{self.os}({self.os_version})" if self.os_version else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def _build(version: str) -> list[str]:
    return version.split(".")[:3]
