"""Platforms: `os/architecture[/variant]`, as an image index and `--platform` name them.

Source: image-spec, image-index.md, and the GOOS and GOARCH names of Go.
"""

from __future__ import annotations

import os

from pybuild.registry.values import frozen

_ARCHITECTURES = {
    "x86_64": ("amd64", None),
    "amd64": ("amd64", None),
    "aarch64": ("arm64", "v8"),
    "arm64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", None),
    "i386": ("386", None),
    "ppc64le": ("ppc64le", None),
    "s390x": ("s390x", None),
    "riscv64": ("riscv64", None),
}


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

    def suits(self, wanted: Platform) -> bool:
        """Whether an image for this platform runs where `wanted` is asked for.

        A missing variant fits any: most images for arm64 do not name v8.
        """
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        return self.variant is None or wanted.variant is None or self.variant == wanted.variant

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
