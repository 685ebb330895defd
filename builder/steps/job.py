"""One build as the solver needs it: the graph with its keys, and all that the steps read."""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.builder.contexts.context import Context
from pybuild.builder.graph import BuildGraph
from pybuild.builder.records.cache import CacheOf, LocalCache, Result
from pybuild.builder.request import RunOptions
from pybuild.grammar import Source
from pybuild.hints import TYPE_CHECKING
from pybuild.registry import Image
from pybuild.values import frozen

if TYPE_CHECKING:
    from pybuild.builder.remote.fetching import Remotes
    from pybuild.builder.steps.executor import ExecutorOf
    from pybuild.builder.steps.sandboxes import Sandboxes


@frozen
class Job:
    """`own` are the steps' own parts of their keys. `cached` has what of the target is there, `fresh` what is not looked up by
    its key, `anew` what is not looked up at all; `remotes` is for URLs and git. `executor` is None for this machine, which may
    have `sandboxes` already."""

    graph: BuildGraph
    keys: tuple[str, ...]
    own: tuple[str, ...]
    source: Source
    contexts: Mapping[str, Context]
    images: Mapping[str, Image]
    compression: str
    now: str
    cached: Mapping[int, Result]
    timestamp: int | None = None
    fresh: frozenset[int] = frozenset()
    anew: frozenset[int] = frozenset()
    jobs: int = 4
    run: RunOptions = RunOptions()
    remotes: Remotes | None = None
    cache: CacheOf = LocalCache
    executor: ExecutorOf | None = None
    sandboxes: Sandboxes | None = None
