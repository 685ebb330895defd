"""Looking back at builds, as the command line and the Python API do."""

from __future__ import annotations

import os

from pybuild.builder.errors import BuildError
from pybuild.builder.records.explaining import Explanation, explain
from pybuild.builder.records.history import Build, History
from pybuild.builder.workspace import Workspace, place_of

_LISTED = 20


def explanation(number: int | None = None, *, root: str | os.PathLike[str] | None = None) -> Explanation:
    """Why each step of a build, the last one for None, ran or did not. Raises BuildError when there is no such build."""
    with _open(root) as workspace:
        history = History(workspace.database)
        build = history.last() if number is None else history.build(number)
        if build is None and number is None:
            raise BuildError("nothing was built here yet", hint="'pybuild build' writes down what it does")
        if build is None:
            raise BuildError(f"there is no build #{number} in the history", hint="'pybuild why --list' shows those there are")
        return explain(build, history.before(build), listing=history.listing, maker=history.maker)


def builds(count: int = _LISTED, *, root: str | os.PathLike[str] | None = None) -> tuple[Build, ...]:
    """The latest builds, the newest first."""
    with _open(root) as workspace:
        return History(workspace.database).recent(count)


def _open(root: str | os.PathLike[str] | None) -> Workspace:
    return Workspace.open(place_of(root, os.environ))
