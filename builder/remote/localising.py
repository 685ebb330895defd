"""Contexts that are no folders yet, as folders: standard input, archives and Dockerfiles at URLs, git repositories.

What was fetched or unpacked is only there until the build ends, but for a checkout, which stays for the next one. An ignore
file in a context from elsewhere is a file like others: so has it BuildKit. Source: buildkit, frontend/dockerui/context.go;
buildx, build/opt.go.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from pybuild.builder.contexts.context import Context, is_local
from pybuild.builder.contexts.ignore import Ignore
from pybuild.builder.contexts.together import together
from pybuild.builder.errors import ContextError, LayerError
from pybuild.builder.graph import GitStep
from pybuild.builder.layers.copying import archived
from pybuild.builder.layers.draft import Draft
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.extraction import materialise
from pybuild.builder.layers.index import MergedView, follow
from pybuild.builder.layers.unpacking import Archives
from pybuild.builder.remote.addresses import AddressError, GitAddress, git_address, is_url, shown
from pybuild.builder.remote.downloads import Downloads
from pybuild.builder.remote.git import Repositories
from pybuild.builder.request import BuildRequest, Inline
from pybuild.builder.workspace import Workspace, adopt_tree
from pybuild.grammar import Span
from pybuild.hints import BinaryIO
from pybuild.values import replace

_NOWHERE = Span(1, 1, 1, 2)
# Standard input, and images, which are asked for when it is known that they are needed.
_NOT_FETCHED = ("-", "oci-layout://", "docker-image://")
_IGNORE = ".dockerignore"
# BuildKit's name for the one file of a context that is no archive.
_ONLY_FILE = "context"
_LARGEST_TEXT = 16 << 20
_MOST_BYTES = 64 << 30
_MOST_ENTRIES = 5_000_000
_BLOCK = 1 << 20


@contextmanager
def localised(request: BuildRequest, workspace: Workspace, *, stdin: BinaryIO | None = None) -> Iterator[BuildRequest]:
    """The request with folders for contexts, and with the text of a Dockerfile that is in none of the user's.

    Raises ContextError, RemoteError, LayerError, RegistryError.
    """
    with ExitStack() as resources:
        yield _Localiser(workspace, resources, stdin).of(request)


class _Localiser:
    def __init__(self, workspace: Workspace, resources: ExitStack, stdin: BinaryIO | None) -> None:
        self._workspace = workspace
        self._resources = resources
        self._stdin = stdin
        self._downloads = Downloads(workspace)
        self._repositories = Repositories(workspace)
        self._moments: dict[str, int] = {}

    def of(self, request: BuildRequest) -> BuildRequest:
        self._ahead(request)
        request = self._local(request)
        return replace(request, moments=tuple(sorted(self._moments.items())))

    def _ahead(self, request: BuildRequest) -> None:
        """Fetch what is elsewhere, several at a time; what is no address is left to whoever looks at them one by one."""

        def fetch(name: str, place: str) -> None:
            with suppress(ContextError):
                address = self._address(place)
                _ = self._checkout(name, address) if address is not None else self._fetched(place)

        places = [("", request.context), *request.contexts]
        elsewhere = [pair for pair in places if not is_local(pair[1]) and not pair[1].startswith(_NOT_FETCHED)]
        together([partial(fetch, *pair) for pair in elsewhere], jobs=request.jobs)

    def _local(self, request: BuildRequest) -> BuildRequest:
        named, plain = [], []
        for name, place in request.contexts:
            folder = self._named(name, place)
            if folder is not None:
                plain.append(name)
            named.append((name, folder or place))
        request = replace(request, contexts=tuple(named), plain_contexts=tuple(plain))
        if request.context == "-" and request.dockerfile == "-":
            raise ContextError("-f - and a context of '-': both are standard input", hint="pass the Dockerfile in the archive")
        if request.dockerfile == "-":
            content = self._read_text(self._input(), "stdin")
            request = replace(request, dockerfile=None, inline=Inline("stdin", content, (_IGNORE,)))
        elif request.dockerfile is not None and is_url(request.dockerfile):
            name = shown(request.dockerfile)
            with open(self._fetched(request.dockerfile), "rb") as file:
                request = replace(request, dockerfile=None, inline=Inline(name, self._read_text(file, name), (_IGNORE,)))
        if request.context == "-":
            return self._from_input(request)
        if is_local(request.context):
            return request
        address = self._address(request.context)
        if address is not None:
            return self._inside(request, self._checkout("", address), shown(address.remote))
        return self._from_url(request)

    def _named(self, name: str, place: str) -> str | None:
        """The folder for a named context that is none, None for one that needs nothing."""
        if is_local(place) or place.startswith(_NOT_FETCHED):
            return None
        address = self._address(place)
        if address is not None:
            return self._checkout(name, address)
        folder = self._folder()
        self._lay(self._fetched(place), folder)
        self._date(name, place)
        return folder

    def _address(self, place: str) -> GitAddress | None:
        try:
            address = git_address(place)
        except AddressError as error:
            raise ContextError(f"{shown(place)}: {error}") from None
        if address is None and not is_url(place):
            raise ContextError(f"not a context: {shown(place)}", hint="a folder, '-', an http(s) URL, or a git repository")
        return address

    # Kinds

    def _from_input(self, request: BuildRequest) -> BuildRequest:
        folder = self._folder()
        path = f"{folder}.input"
        with open(path, "xb") as file:
            self._copy(self._input(), file, "stdin")
        if self._unpack(path, folder, "stdin"):
            return self._inside(request, folder, "stdin")
        if request.dockerfile is not None:
            raise ContextError("-f, and what comes on standard input is no archive: it is a Dockerfile", hint="leave -f out")
        with open(path, "rb") as text:
            inline = Inline("stdin", self._read_text(text, "stdin"), ())
        return replace(request, context=folder, inline=inline)

    def _from_url(self, request: BuildRequest) -> BuildRequest:
        path, name, folder = self._fetched(request.context), shown(request.context), self._folder()
        self._date("", request.context)
        if self._unpack(path, folder, name):
            return self._inside(request, folder, name)
        self._lay(path, folder)
        if request.inline is None:
            with open(path, "rb") as file:
                request = replace(request, dockerfile=None, inline=Inline(name, self._read_text(file, name), ()))
        return replace(request, context=folder)

    def _inside(self, request: BuildRequest, folder: str, name: str) -> BuildRequest:
        """The request for a folder from elsewhere, whose Dockerfile is in it; no link in it leads out of it."""
        request = replace(request, context=folder)
        if request.inline is not None:
            return replace(request, inline=replace(request.inline, ignore_names=()))
        wanted = posixpath.normpath(f"/{request.dockerfile or 'Dockerfile'}").strip("/")
        tree = Context(folder, Ignore())
        choices = [wanted]
        if posixpath.basename(wanted) == "Dockerfile":
            choices.append(posixpath.join(posixpath.dirname(wanted), "dockerfile"))
        for choice in choices:
            place = follow(tree.lookup, choice)
            entry = tree.lookup(place)
            if entry is not None and entry.kind is Kind.FILE:
                with open(f"{folder}/{place}", "rb") as file:
                    inline = Inline(choice, self._read_text(file, choice), ())
                return replace(request, dockerfile=None, inline=inline)
        top = ", ".join(entry.name for entry in tree.children("")[:8])
        raise ContextError(f"no {wanted} in {name}", hint=f"-f names one in there; it has: {top}" if top else "it is empty")

    def _checkout(self, name: str, address: GitAddress) -> str:
        step = GitStep(
            name="",
            span=_NOWHERE,
            remote=address.remote,
            ref=address.ref,
            subdir=address.subdir,
            checksum=address.checksum.lower(),
            keeps_git_dir=bool(address.keeps_git_dir),
            has_submodules=address.has_submodules is not False,
            times=address.times,
            fetches_commit=address.fetches_commit,
        )
        commit = self._repositories.commit(step)
        self._moments[name] = self._repositories.moment(step)
        key = (commit, step.subdir, step.remote, step.keeps_git_dir, step.has_submodules, step.times)
        place = self._workspace.tree_path(f"context-{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}")
        if not os.path.isdir(place):
            with self._workspace.scratch() as scratch:
                self._repositories.checkout(step, f"{scratch}/tree")
                adopt_tree(f"{scratch}/tree", place)
        return place

    def _date(self, name: str, url: str) -> None:
        moment = self._downloads.moment(url, None)
        if moment is not None:
            self._moments[name] = moment

    # Files

    def _folder(self) -> str:
        folder = f"{self._resources.enter_context(self._workspace.scratch())}/context"
        os.mkdir(folder, 0o755)
        return folder

    def _fetched(self, url: str) -> str:
        return self._workspace.store.path(self._downloads.find(url, None).digest)

    def _lay(self, path: str, folder: str) -> None:
        """The one file of a context that is no archive, as BuildKit has it: for its owner alone."""
        with open(path, "rb") as source, open(f"{folder}/{_ONLY_FILE}", "xb") as target:
            os.chmod(target.fileno(), 0o600)
            self._copy(source, target, "the context's file")

    def _input(self) -> BinaryIO:
        return self._stdin or sys.stdin.buffer

    def _copy(self, source: BinaryIO, target: BinaryIO, name: str) -> None:
        size = 0
        try:
            while block := source.read(_BLOCK):
                size += len(block)
                if size > _MOST_BYTES:
                    raise ContextError(f"{name}: over {_MOST_BYTES} bytes")
                target.write(block)
        except OSError as error:
            raise ContextError(f"cannot keep {name}: {error.strerror}", hint="is the disk full?") from error

    def _read_text(self, file: BinaryIO, name: str) -> bytes:
        content = file.read(_LARGEST_TEXT + 1)
        if len(content) > _LARGEST_TEXT:
            raise ContextError(f"{name}: over {_LARGEST_TEXT} bytes, which is no Dockerfile and no archive")
        return content

    def _unpack(self, path: str, folder: str, name: str) -> bool:
        """Whether a file is an archive, which then lies in the folder."""
        try:
            with Archives(self._workspace.store, most_bytes=_MOST_BYTES, most_entries=_MOST_ENTRIES) as archives:
                entries = archives.read(path)
                if entries is None:
                    return False
                draft = Draft(MergedView([]))
                archived(draft, entries, "", owner=None)
                materialise(tuple(_owned(draft.entries())), folder)
        except LayerError as error:
            raise LayerError(error.message.replace(path, name), hint=error.hint) from error
        return True


def _owned(entries: Iterable[Entry]) -> Iterator[Entry]:
    """As who builds may have them: owners do not count in a context."""
    is_root = os.geteuid() == 0
    for entry in entries:
        if not is_root and entry.kind in (Kind.CHARACTER, Kind.BLOCK):
            continue
        xattrs = entry.xattrs if is_root else tuple(pair for pair in entry.xattrs if pair[0].startswith("user."))
        yield entry._replace(uid=os.geteuid(), gid=os.getegid(), xattrs=xattrs)
