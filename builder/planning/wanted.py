"""What a plan is made for, and what it asks for before it can be made. Values that a warm build needs too."""

from __future__ import annotations

from pybuild.builder.graph import Pairs
from pybuild.registry import Platform
from pybuild.values import frozen


@frozen
class Options:
    """What the user asks for, beside the Dockerfile.

    `folders` and `images` are the names of the build contexts that are folders and images, perhaps with `::PLATFORM` behind them,
    `empty` of those that are nothing: `docker-image://scratch`.
    `is_platform_asked`: the platform was named, it is not just this machine's; the image is then said to be for it.
    `build_platform` is this machine's, None where it is the same. `epoch` is what SOURCE_DATE_EPOCH comes to that names
    something, once it is known: seconds since 1970, or "" for what has no time.
    """

    platform: Platform
    build_args: Pairs = ()
    target: str | None = None
    folders: tuple[str, ...] = ()
    labels: Pairs = ()
    network: str = "default"
    images: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    is_platform_asked: bool = False
    build_platform: Platform | None = None
    epoch: str | None = None


@frozen
class Wanted:
    """An image that the target stands on: its name as it is written, and for which platform.

    `context` is the name, as the user gave it, of the build context that takes the image's place.
    """

    name: str
    platform: Platform
    context: str | None = None
