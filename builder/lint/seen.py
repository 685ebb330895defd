"""What can be seen of a file without building it, as values: what its lines come to, and what is known beside them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pybuild.builder.contexts.ignore import Ignore
from pybuild.builder.graph import Pairs
from pybuild.builder.lint.looking import Looked
from pybuild.grammar import Span
from pybuild.grammar.comments import Surroundings
from pybuild.grammar.instructions import Dockerfile, Instruction, Stage
from pybuild.grammar.mounts import Mount
from pybuild.registry import ImageConfig, Platform
from pybuild.values import frozen


@frozen
class Known:
    """What is known beside the file. `bases` has the images that somebody knows, by their names in the file, or by
    `base_key` where it matters for which platform; what a
    `target` does not need is not looked at, nor, with `only_needed`, what the last stage does not need; `folders` are the
    named contexts that are folders."""

    platform: Platform
    build_args: Pairs = ()
    target: str | None = None
    bases: Mapping[str, ImageConfig] = MappingProxyType({})
    ignore: Ignore | None = None
    folders: tuple[str, ...] = ()
    only_needed: bool = False

    def base(self, name: str, platform: Platform) -> ImageConfig | None:
        """What is known of an image."""
        found = self.bases.get(base_key(name, platform))
        return found if found is not None else self.bases.get(name)


def base_key(name: str, platform: Platform) -> str:
    """An image for a platform, whatever its variant: `NAME::OS/ARCHITECTURE`."""
    return f"{name}::{platform.os}/{platform.architecture}"


@frozen
class Missing:
    """A variable that a line uses and nothing defines; `close` is what was probably meant."""

    name: str
    span: Span
    close: str | None


@frozen
class Line:
    """One instruction of a stage as a build comes to it.

    `values` are its own words, expanded: ports, paths, names; None is a word without a value. `before` is where the
    last instruction of the same keyword in this stage is. `is_known` says whether the stage's base image is. `is_trigger`
    marks an instruction that the base brought along with ONBUILD.
    """

    stage: Stage
    instruction: Instruction
    values: tuple[str | None, ...]
    missing: tuple[Missing, ...]
    before: Span | None
    shell: tuple[str, ...] | None
    directory: str | None
    has_workdir: bool
    is_known: bool
    is_trigger: bool = False

    @property
    def place(self) -> Span | None:
        """The place to blame instead of the instruction's own: FROM, for a trigger."""
        return self.stage.start.span if self.is_trigger else None


@frozen
class Head:
    """A FROM line: its image and platform, expanded; `plain` is the image when no build argument is given."""

    stage: Stage
    image: Looked
    plain: Looked
    platform: Looked | None
    base: int | str | None


@frozen
class Used:
    """An image that a stage starts from or copies from, with what is known of it, and the platform that it should be for."""

    name: str
    config: ImageConfig
    span: Span
    wanted: Platform


@frozen
class Given:
    """One definition of an ARG inside of a stage. `is_inherited` says that it only makes an argument from above the first
    FROM seen here."""

    stage: int
    instruction: Instruction
    name: str
    value: str | None
    is_inherited: bool


@frozen
class Mounted:
    """One --mount of a RUN inside of a stage."""

    stage: int
    instruction: Instruction
    mount: Mount


@frozen
class View:
    """All that can be seen of a file: rules look at it, and an outline is drawn from it. `text` are its lines, `needs` the
    stages that each stage names, its base first."""

    dockerfile: Dockerfile
    text: tuple[str, ...]
    known: Known
    around: Surroundings
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    images: tuple[Used, ...]
    arguments: Mapping[str, str]
    declared: tuple[str, ...]
    unknown: tuple[str, ...]
    given: tuple[Given, ...]
    mounts: tuple[Mounted, ...]
    needs: Mapping[int, tuple[int, ...]]
