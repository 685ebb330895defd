"""What the steps that read from elsewhere come to: a digest for the key, and the files when they are needed."""

from __future__ import annotations

from pybuild.builder.graph import GitStep, HttpStep
from pybuild.builder.layers.entry import DiskContent, Entry, Kind
from pybuild.builder.remote.downloads import Downloads
from pybuild.builder.workspace import Workspace
from pybuild.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from pybuild.builder.remote.git import Repositories

_SECOND = 10**9


class Remotes:
    """The URLs and git repositories of one build, each asked for once. Safe for threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._downloads = Downloads(workspace)
        self._of_git: Repositories | None = None

    def digest(self, step: HttpStep | GitStep) -> str:
        """What decides about the files: their digest, or their commit. Nobody is asked when the step says it.

        Raises RemoteError.
        """
        if isinstance(step, GitStep):
            return self._repositories().commit(step)
        return step.checksum or self._downloads.find(step.url, None).digest

    def file(self, step: HttpStep) -> Entry:
        """The file at a URL, readable by its owner alone, as of the server's time. Raises RemoteError."""
        found = self._downloads.find(step.url, step.checksum)
        content = DiskContent(self._workspace.store.path(found.digest))
        return Entry(step.filename, Kind.FILE, 0o600, size=found.size, mtime_ns=found.modified * _SECOND, content=content)

    def moment(self, step: HttpStep | GitStep) -> int | None:
        """When it is from, in seconds since 1970; None when nobody says. Raises RemoteError."""
        if isinstance(step, GitStep):
            return self._repositories().moment(step)
        return self._downloads.moment(step.url, step.checksum)

    def _repositories(self) -> Repositories:
        if self._of_git is None:
            from pybuild.builder.remote.git import Repositories

            self._of_git = Repositories(self._workspace)
        return self._of_git

    def checkout(self, step: GitStep, place: str) -> None:
        """The files of a repository in the new folder `place`. Raises RemoteError."""
        self._repositories().checkout(step, place)
