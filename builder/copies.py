"""COPY and ADD to their step: the words expanded, the flags read, the destination joined. Pure."""

from __future__ import annotations

from pybuild.builder.graph import CopyStep, Step
from pybuild.builder.handlers import joined, title
from pybuild.builder.scope import Scope, State
from pybuild.grammar.instructions import Copy

_REMOTE = ("http://", "https://", "git://", "git@", "ssh://")


def copy(scope: Scope, state: State, instruction: Copy, origin: int | str) -> tuple[State, Step]:
    """ADD and COPY, out of `origin`."""
    if instruction.heredocs:
        raise scope.unsupported(f"{instruction.keyword} with a here-document", instruction.span, "put the text into a file")
    variables = state.variables
    is_add = instruction.keyword == "ADD"
    sources = []
    for word in instruction.sources:
        source = scope.expand(word, variables)
        if is_add and source.startswith(_REMOTE):
            raise scope.unsupported(f"ADD of {source}", word.span, "fetch it before the build, or in a RUN")
        sources.append(source)
    target = scope.expand(instruction.destination, variables)
    is_directory = target.endswith(("/", "/.")) or target in (".", "")
    if len(sources) > 1 and not is_directory:
        raise scope.wrong(
            f"several sources, and the destination {target} is no directory",
            instruction.destination.span,
            f"write {target}/",
        )
    destination = joined(state.config.working_dir, target)
    owner, mode = instruction.flag("chown"), instruction.flag("chmod")
    owner_text = scope.expand(owner.value, variables) if owner and owner.value else None
    mode_text = scope.expand(mode.value, variables) if mode and mode.value else None
    flags = [f"--{name}={text}" for name, text in (("chown", owner_text), ("chmod", mode_text)) if text]
    step = CopyStep(
        name=title(instruction),
        span=instruction.span,
        parent=state.last,
        origin=origin,
        sources=tuple(sources),
        destination=destination.rstrip("/") + "/" if is_directory else destination,
        owner=owner_text,
        mode=_mode(scope, mode_text, instruction),
        unpack=is_add,
        created_by=" ".join((instruction.keyword, *flags, *sources, target)),
    )
    return state, step


def _mode(scope: Scope, text: str | None, instruction: Copy) -> int | None:
    if not text:
        return None
    flag = instruction.flag("chmod")
    span = flag.span if flag else instruction.span
    if all(digit in "01234567" for digit in text) and int(text, 8) <= 0o7777:
        return int(text, 8)
    if text.isdigit():
        raise scope.wrong(f"not a mode: {text}", span, "write it in octal, such as 755")
    raise scope.unsupported("--chmod with letters", span, "write the mode in octal, such as 755")
