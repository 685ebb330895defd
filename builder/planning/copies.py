"""COPY and ADD to their step: the words expanded, the flags read, the destination joined. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from pybuild.builder.contexts.paths import joined
from pybuild.builder.graph import CopySource, CopyStep, File, GitStep, HttpStep, Step
from pybuild.builder.layers.modes import Mode
from pybuild.builder.planning.handlers import title
from pybuild.builder.planning.scope import Scope, State
from pybuild.builder.remote.addresses import AddressError, GitAddress, file_name, git_address, is_url, shown
from pybuild.grammar import DockerfileError, Span, WordError
from pybuild.grammar.instructions import Copy, Heredoc, Word
from pybuild.grammar.words import expand_text

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_QUERY_HINT = "a query has ref, tag, branch, subdir, checksum, keep-git-dir, submodules, mtime, fetch-by-commit"
_HEX = re.compile(r"[0-9a-fA-F]+")
Add = Callable[[Step], int]


def whole(state: State, context: str, span: Span, text: str) -> CopyStep:
    """All of a build context, for a stage that begins with it."""
    return CopyStep(text, span, state.last, (CopySource(context, "/"),), "/", f"{text} (a build context)")


def copy(scope: Scope, state: State, instruction: Copy, origin: int | str, add: Add) -> tuple[State, Step]:
    """ADD and COPY, out of `origin`. A source that is fetched is a step of its own, which `add` gives a number.

    Raises PlanError and DockerfileError.
    """
    variables = state.variables
    is_add = instruction.keyword == "ADD"
    words = [(word, scope.expand(word, variables)) for word in instruction.sources]
    sources = [source for _, source in words]
    found = _Sources(scope, state, instruction, origin, add)
    copied = tuple(found.of(word, source) for word, source in words)
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
        sources=copied,
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


class _Sources:
    """What the sources of one instruction are."""

    def __init__(self, scope: Scope, state: State, instruction: Copy, origin: int | str, add: Add) -> None:
        self.scope = scope
        self.instruction = instruction
        self.origin = origin
        self.add = add
        self.checksum = _value(scope, state, instruction, "checksum")
        flag = instruction.flag("checksum")
        self.checksum_span = flag.span if flag else instruction.span
        if self.checksum and len(instruction.sources) + len(instruction.heredocs) > 1:
            raise scope.wrong("--checksum with several sources", self.checksum_span, "write an ADD for each")

    def of(self, word: Word, source: str) -> CopySource:
        """One source, expanded; a step is added for one that is fetched."""
        try:
            address = git_address(source)
        except AddressError as error:
            raise self.scope.wrong(f"{shown(source)}: {error}", word.span, _QUERY_HINT) from None
        is_git = address is not None and not address.is_guess
        if self.instruction.keyword == "COPY" and (is_git or is_url(source)):
            raise self.scope.wrong(f"COPY of {shown(source)}", word.span, "ADD is what takes URLs and git repositories")
        if address is not None and is_git:
            return CopySource(self.add(self._repository(word, address)), "")
        if is_url(source):
            step = HttpStep(f"fetch {shown(source)}", word.span, source, file_name(source), self._digest())
            return CopySource(self.add(step), step.filename)
        if self.checksum:
            raise self.scope.wrong("--checksum of a local file", self.checksum_span, "it is for URLs and git repositories")
        return CopySource(self.origin, source)

    def _digest(self) -> str | None:
        if not self.checksum:
            return None
        if not _SHA256.fullmatch(self.checksum):
            raise self.scope.wrong(f"not a checksum: {self.checksum}", self.checksum_span, "write sha256: and 64 hex digits")
        return self.checksum

    def _repository(self, word: Word, address: GitAddress) -> GitStep:
        keeps = is_set(self.instruction, "keep-git-dir") if self.instruction.flag("keep-git-dir") else None
        if None not in (keeps, address.keeps_git_dir) and keeps != address.keeps_git_dir:
            raise self.scope.wrong("--keep-git-dir, and the opposite in the address", word.span, "leave one of them out")
        if self.checksum and address.checksum and self.checksum != address.checksum:
            raise self.scope.wrong("--checksum, and another one in the address", word.span, "leave one of them out")
        checksum = self.checksum or address.checksum
        if checksum and not _HEX.fullmatch(checksum):
            raise self.scope.wrong(f"not a commit: {checksum}", self.checksum_span, "write the hex digits of a commit")
        return GitStep(
            name=f"fetch {shown(address.remote)}",
            span=word.span,
            remote=address.remote,
            ref=address.ref,
            subdir=address.subdir,
            checksum=checksum.lower(),
            keeps_git_dir=bool(keeps or address.keeps_git_dir),
            has_submodules=address.has_submodules is not False,
            # ADD has the times of the checkout, whatever the address says.
            fetches_commit=address.fetches_commit,
        )


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
