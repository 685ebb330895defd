"""Git repositories through the git program: what a ref is now, and its files as a folder.

Nothing of the user's configuration, of the repository's hooks and of git's own helpers runs a program here, nobody is asked
for a password, and no address or ref is taken for an option. What was fetched stays in the store as a bare repository, under
`trees/`, for the next time. Source: buildkit, source/git/source.go, util/gitutil/git_cli.go.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial

from pybuild.builder.errors import RemoteError
from pybuild.builder.graph import GitStep
from pybuild.builder.remote.addresses import is_commit, shown
from pybuild.builder.workspace import Workspace, remove

_PASSED = ("PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "TMPDIR")
_PROXIES = tuple(name for plain in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY") for name in (plain, plain.lower()))
# Only those; ext:: would be a command, and file:// somebody's disk.
_PROTOCOLS = "http:https:git:ssh"
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "core.askPass=",
    "advice.detachedHead=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.file.allow=user",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)
_DEFAULT_BRANCH = re.compile(r"ref: (\S+)\tHEAD")
_LONGEST_SECONDS = 3600
_SHALLOW = "--depth=1"


class Repositories:
    """The git repositories of one build: each ref is asked for once. `protocols` are those that may be spoken."""

    def __init__(self, workspace: Workspace, *, environ: Mapping[str, str] | None = None, protocols: str = _PROTOCOLS) -> None:
        self._workspace = workspace
        self._environ = os.environ if environ is None else environ
        self._protocols = protocols
        self._commits: dict[GitStep, tuple[str, str]] = {}

    def commit(self, step: GitStep) -> str:
        """The commit that a step means. Asks the server, unless the step names it. Raises RemoteError."""
        return self._resolved(step)[0]

    def moment(self, step: GitStep) -> int:
        """When the commit that a step means was committed, in seconds since 1970. Raises RemoteError."""
        commit, name = self._resolved(step)
        with self._bare(step) as bare:
            self._fetch(step, bare, commit, name)
            return self._committed(step, bare, commit)

    def _committed(self, step: GitStep, git_dir: str, commit: str) -> int:
        return int(self._git(step, "show", "-s", "--format=%ct", f"{commit}^{{commit}}", git_dir=git_dir).split()[-1])

    def _resolved(self, step: GitStep) -> tuple[str, str]:
        """The commit, and the whole name of the ref that has it; for an annotated tag the tag, where the .git is kept."""
        if step not in self._commits:
            self._commits[step] = self._resolve(step)
        return self._commits[step]

    def _resolve(self, step: GitStep) -> tuple[str, str]:
        for text in (step.remote, step.ref):
            if text.startswith("-"):
                raise RemoteError(f"{text}: an address or a ref does not begin with '-'")
        if is_commit(step.ref):
            _check(step, step.ref)
            return step.ref, step.ref
        if step.fetches_commit:
            if not is_commit(step.checksum):
                raise RemoteError(f"{shown(step.remote)}: fetch-by-commit needs a whole commit as its checksum")
            return step.checksum, step.checksum
        ref = step.ref or self._default_branch(step)
        lines = self._git(step, "ls-remote", "--", step.remote, ref, f"{ref}^{{}}").splitlines()
        found = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
        tag = f"refs/tags/{ref.removeprefix('refs/tags/')}"
        # As git-checkout does: a branch before a tag of the same name.
        names = (f"refs/{ref.removeprefix('refs/')}", f"refs/heads/{ref.removeprefix('refs/heads/')}", tag)
        name = next((name for name in names if name in found), None)
        if name is None or not is_commit(found[name]):
            raise RemoteError(
                f"{shown(step.remote)}: there is no branch and no tag {ref}",
                hint="a commit has to be written in full, 40 hex digits",
            )
        behind = found.get(f"{tag}^{{}}", "") if name == tag else ""
        _check(step, found[name], behind)
        return (behind if behind and not step.keeps_git_dir else found[name]), name

    def _default_branch(self, step: GitStep) -> str:
        said = self._git(step, "ls-remote", "--symref", "--", step.remote, "HEAD")
        match = _DEFAULT_BRANCH.search(said)
        if match is None or match[1].startswith("-"):
            raise RemoteError(f"{shown(step.remote)}: no default branch there", hint="name a branch: URL#BRANCH")
        return match[1]

    def checkout(self, step: GitStep, place: str) -> None:
        """The files of a step's commit in a new folder `place`. Raises RemoteError."""
        commit, name = self._resolved(step)
        with self._bare(step) as bare, self._workspace.scratch() as scratch:
            self._fetch(step, bare, commit, name)
            top = f"{scratch}/files"
            os.mkdir(top, 0o755)
            git_dir = bare
            if step.keeps_git_dir and not step.subdir:
                git_dir = f"{top}/.git"
                self._clone(step, bare, top, commit, name)
            else:
                self._git(step, "checkout", "--no-overlay", commit, "--", ".", git_dir=bare, work_tree=top)
            if step.has_submodules and os.path.lexists(f"{top}/.gitmodules"):
                # What a submodule's address is relative to.
                origin = ("-c", f"remote.origin.url={step.remote}")
                self._git(step, *origin, "submodule", "update", "--init", "--recursive", _SHALLOW, git_dir=git_dir, work_tree=top)
            if step.times == "commit":
                self._set_times(step, git_dir, commit, top)
            found = _inside(top, step.subdir, shown(step.remote))
            os.chmod(found, 0o755)
            os.rename(found, place)

    def _fetch(self, step: GitStep, bare: str, commit: str, name: str) -> None:
        """Bring a commit into the bare repository, alone if the server gives single commits."""
        if self._has(step, bare, commit):
            return
        if name != commit:
            refs = f"{name}:refs/pybuild/{commit}"
            self._git(step, "fetch", _SHALLOW, "--no-tags", "--force", "--", step.remote, refs, git_dir=bare)
            if self._has(step, bare, commit):
                return
        with contextlib.suppress(RemoteError):
            self._git(step, "fetch", _SHALLOW, "--no-tags", "--", step.remote, f"{commit}:refs/pybuild/{commit}", git_dir=bare)
        if not self._has(step, bare, commit):
            arguments = ("--unshallow",) if os.path.exists(f"{bare}/shallow") else ()
            everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            self._git(step, "fetch", "--force", *arguments, "--", step.remote, *everything, git_dir=bare)
        if not self._has(step, bare, commit):
            raise RemoteError(
                f"{shown(step.remote)}: the commit {commit} is not there", hint="it may have been overwritten there"
            )

    def _has(self, step: GitStep, bare: str, commit: str) -> bool:
        try:
            self._git(step, "cat-file", "-e", f"{commit}^{{commit}}", git_dir=bare)
        except RemoteError:
            return False
        return True

    def _clone(self, step: GitStep, bare: str, top: str, commit: str, name: str) -> None:
        """A repository of its own with one commit, its origin the real one."""
        git = partial(self._git, step, git_dir=f"{top}/.git", work_tree=top)
        git("init", "-q", "--initial-branch=master", "--template=", *_format(commit))
        target = name if name != commit else f"refs/pybuild/{commit}"
        self._git(step, "update-ref", f"refs/pybuild/{commit}", commit, git_dir=bare)
        # A tag that the bare one has as well would come along, and be two refs of one name.
        git("fetch", "-u", _SHALLOW, "--no-tags", "--", f"file://{bare}", f"refs/pybuild/{commit}:{target}", is_local=True)
        git("checkout", "-q", "FETCH_HEAD")
        git("remote", "add", "origin", shown(step.remote))
        git("reflog", "expire", "--all", "--expire=now")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{top}/.git/FETCH_HEAD")

    def _set_times(self, step: GitStep, git_dir: str, commit: str, top: str) -> None:
        seconds = self._committed(step, git_dir, commit)
        for folder, folders, files in os.walk(top):
            for path in (folder, *(os.path.join(folder, item) for item in (*folders, *files))):
                os.utime(path, (seconds, seconds), follow_symlinks=False)

    @contextlib.contextmanager
    def _bare(self, step: GitStep) -> Iterator[str]:
        """The bare repository for a remote, for us alone."""
        commit = self._resolved(step)[0]
        key = hashlib.sha256(f"{step.remote}\0{len(commit)}".encode(errors="surrogateescape")).hexdigest()[:32]
        bare = self._workspace.tree_path(f"git-{key}")
        with self._workspace.store.lock(f"git-{key[:2]}", exclusive=True):
            if not os.path.exists(f"{bare}/HEAD"):
                remove(bare)
                self._git(step, "init", "-q", "--bare", "--initial-branch=master", "--template=", *_format(commit), "--", bare)
            with contextlib.suppress(FileNotFoundError):
                # Left by a git that was killed.
                os.unlink(f"{bare}/shallow.lock")
            yield bare

    def _git(
        self, step: GitStep, *arguments: str, git_dir: str | None = None, work_tree: str | None = None, is_local: bool = False
    ) -> str:
        """What git says. Raises RemoteError with what it complains of."""
        command = ["git", *(part for setting in _SETTINGS for part in ("-c", setting))]
        command += ["--git-dir", git_dir] if git_dir else []
        command += ["--work-tree", work_tree] if work_tree else []
        environ = {name: self._environ[name] for name in (*_PASSED, *_PROXIES) if name in self._environ}
        environ |= {
            "HOME": "/dev/null",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file" if is_local else self._protocols,
            "GIT_SSH_COMMAND": "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
            # A repository that the store happens to lie in is nobody's business here.
            "GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.realpath(self._workspace.store.root)),
        }
        try:
            done = subprocess.run(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environ,
                cwd=work_tree or self._workspace.store.root,
                umask=0o022,
                timeout=_LONGEST_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise RemoteError(
                f"{shown(step.remote)}: there is no git here", hint="install git: it is what fetches repositories"
            ) from None
        except subprocess.TimeoutExpired:
            raise RemoteError(f"{shown(step.remote)}: git took over an hour") from None
        if done.returncode and _SHALLOW in arguments and b"shallow" in done.stderr:
            # A server that is nothing but files gives the history or nothing.
            plain = tuple(argument for argument in arguments if argument != _SHALLOW)
            return self._git(step, *plain, git_dir=git_dir, work_tree=work_tree, is_local=is_local)
        if done.returncode:
            raise RemoteError(
                f"{shown(step.remote)}: {_complaint(done.stderr)}", hint="is the address right, and is it for everybody?"
            )
        return done.stdout.decode("utf-8", "surrogateescape")


def _check(step: GitStep, *commits: str) -> None:
    """Raise RemoteError where none of the commits is the one that a checksum asks for."""
    if step.checksum and not any(commit.startswith(step.checksum) for commit in commits if commit):
        raise RemoteError(
            f"{shown(step.remote)}: it is {' or '.join(filter(None, commits))}, and not {step.checksum}",
            hint="the ref has moved on: look at it, then correct the checksum",
        )


def _format(commit: str) -> tuple[str, ...]:
    return ("--object-format=sha256",) if len(commit) == 64 else ()


def _inside(top: str, subdir: str, remote: str) -> str:
    """A folder of the checkout; no link on the way to it is followed."""
    place = top
    for part in filter(None, subdir.split("/")):
        place = f"{place}/{part}"
        try:
            is_folder = stat.S_ISDIR(os.lstat(place).st_mode)
        except FileNotFoundError:
            is_folder = False
        if not is_folder:
            raise RemoteError(f"{remote}: there is no folder {subdir} in it")
    return place


def _complaint(said: bytes) -> str:
    """The line in which git says what is wrong."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith(("fatal:", "error:", "remote:"))]
    text = (fatal or lines or ["git failed and said nothing"])[-1 if not fatal else 0]
    return "".join(character if character.isprintable() else " " for character in text)[:300]
