"""What the linter says of a build's Dockerfile, in the few words that a build has for it. Remembered with the plan, so that
an unchanged build lints nothing."""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.builder.contexts.ignore import Ignore
from pybuild.builder.graph import Pairs
from pybuild.builder.planning.wanted import Wanted
from pybuild.grammar import Source
from pybuild.registry import ImageConfig, Platform
from pybuild.values import frozen


@frozen
class Remarks:
    """`notices` are the findings, one line each, and their number. `broken` are the rules that the file wants to be kept
    (`# check=error=true`) and that it breaks."""

    notices: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


def remarks(
    source: Source,
    *,
    platform: Platform,
    build_args: Pairs,
    target: str | None,
    folders: tuple[str, ...],
    bases: Mapping[Wanted, ImageConfig],
    ignore: Ignore,
) -> Remarks:
    """Lint the part of a file that a build needs. Raises DockerfileError and PlanError for settings that mean nothing."""
    from pybuild.builder.lint import Known, base_key, lint
    from pybuild.grammar import parse

    dockerfile = parse(source)
    # What is not needed is not built, and not spoken of.
    configs = {base_key(wanted.name, wanted.platform): config for wanted, config in bases.items()}
    report = lint(dockerfile, Known(platform, build_args, target, configs, ignore, folders, only_needed=True))
    if not report.findings:
        return Remarks()
    lines = [f"{source.name}:{found.span.line}: {found.rule}: {found.message}" for found in report.findings]
    count = len(lines)
    lines.append(f"{count} warning{'' if count == 1 else 's'} of {source.name}: 'pybuild lint' shows more, and mends some")
    broken = dict.fromkeys(found.rule for found in report.findings) if report.is_error else ()
    return Remarks(tuple(lines), tuple(broken))
