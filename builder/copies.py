"""COPY and ADD to their step: the words expanded, the flags read, the destination joined. Pure."""

from __future__ import annotations

from pybuild.builder.graph import CopySource, CopyStep, File, Step
from pybuild.builder.handlers import title
from pybuild.builder.layers.modes import Mode
from pybuild.builder.paths import joined
from pybuild.builder.scope import Scope, State
from pybuild.grammar import DockerfileError, Span, WordError
from pybuild.grammar.instructions import Copy, Heredoc
from pybuild.grammar.words import expand_text

_REMOTE = ("http://", "https://", "git://", "git@", "ssh://")

# The flags that are carried out; the grammar knows more.
_FLAGS = {
    "ADD": ("chown", "chmod", "link", "exclude", "unpack"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
}


def check_flags(scope: Scope, instruction: Copy) -> None:
    """Raise NotSupported for a flag that is not carried out yet."""
    for flag in instruction.flags:
        if flag.name not in _FLAGS[instruction.keyword]:
            raise scope.unsupported(f"{instruction.keyword} --{flag.name}", flag.span)


def whole(state: State, context: str, span: Span, text: str) -> CopyStep:
    """All of a build context, for a stage that begins with it."""
    return CopyStep(text, span, state.last, (CopySource(context, "/"),), "/", f"{text} (a build context)")


def copy(scope: Scope, state: State, instruction: Copy, origin: int | str) -> tuple[State, Step]:
    """ADD and COPY, out of `origin`. Raises PlanError and DockerfileError."""
    variables = state.variables
    is_add = instruction.keyword == "ADD"
    sources = []
    for word in instruction.sources:
        source = scope.expand(word, variables)
        if is_add and source.startswith(_REMOTE):
            raise scope.unsupported(f"ADD of {source}", word.span, "fetch it before the build, or in a RUN")
        sources.append(source)
    files = tuple(File(heredoc.name, _content(scope, state, heredoc)) for heredoc in instruction.heredocs)
    target = scope.expand(instruction.destination, variables)
    is_directory = target.endswith(("/", "/.")) or target in (".", "")
    if len(sources) + len(files) > 1 and not is_directory:
        raise scope.wrong(
            f"several sources, and the destination {target} is no directory",
            instruction.destination.span,
            f"write {target}/",
        )
    destination = joined(state.config.working_dir, target)
    owner, mode = _value(scope, state, instruction, "chown"), _value(scope, state, instruction, "chmod")
    if mode:
        _check_mode(scope, mode, instruction)
    parents = is_set(instruction, "parents")
    unpack: bool | None = False
    if is_add:
        unpack = is_set(instruction, "unpack") if instruction.flag("unpack") else None
    flags = ["--parents"] * bool(parents)
    flags += [f"--{name}={text}" for name, text in (("chown", owner), ("chmod", mode)) if text]
    inline = [f"<<{file.name}" for file in files]
    step = CopyStep(
        name=title(instruction),
        span=instruction.span,
        parent=state.last,
        sources=tuple(CopySource(origin, source) for source in sources),
        files=files,
        destination=destination.rstrip("/") + "/" if is_directory else destination,
        owner=owner or None,
        mode=mode or None,
        unpack=unpack,
        # BuildKit does not link when there is a --chmod.
        link=is_set(instruction, "link") and not mode,
        parents=parents,
        excludes=tuple(flag.value.text for flag in instruction.flags if flag.name == "exclude" and flag.value),
        created_by=" ".join((instruction.keyword, *flags, *sources, *inline, target)),
    )
    return state, step


def is_set(instruction: Copy, name: str) -> bool:
    """Whether a flag that is true or false was given and is true."""
    flag = instruction.flag(name)
    return flag is not None and (flag.value is None or flag.value.text.lower() == "true")


def _value(scope: Scope, state: State, instruction: Copy, name: str) -> str | None:
    flag = instruction.flag(name)
    return scope.expand(flag.value, state.variables) if flag and flag.value else None


def _content(scope: Scope, state: State, heredoc: Heredoc) -> str:
    """The text of a here-document: tabs gone for `<<-`, variables replaced unless its name was quoted."""
    if not heredoc.expand:
        return heredoc.content
    try:
        return expand_text(heredoc.content, state.variables)
    except WordError as error:
        raise DockerfileError(error.message, span=heredoc.span, source=scope.source, hint=error.hint) from None


def _check_mode(scope: Scope, text: str, instruction: Copy) -> None:
    flag = instruction.flag("chmod")
    try:
        Mode(text)
    except ValueError:
        span = flag.span if flag else instruction.span
        raise scope.wrong(f"not a mode: {text}", span, "write octal, such as 755, or changes, such as u=rwX,go=rX") from None
