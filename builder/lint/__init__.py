"""What is legal in a Dockerfile and better avoided: the rules of BuildKit's linter, with the places, and edits where an edit
changes no meaning. Pure: files, images and ignore patterns are handed in as values.
"""

from __future__ import annotations

from pybuild.builder.errors import PlanError
from pybuild.builder.lint.findings import Edit, Finding
from pybuild.builder.lint.rules import BY_NAME, RULES, Rule
from pybuild.builder.lint.seen import Known, base_key
from pybuild.builder.lint.settings import Settings
from pybuild.builder.lint.walk import images_of, view
from pybuild.grammar import DockerfileError, Source, Span
from pybuild.grammar.instructions import Dockerfile
from pybuild.values import frozen

__all__ = [
    "BY_NAME",
    "RULES",
    "Edit",
    "Finding",
    "Known",
    "Report",
    "Rule",
    "Settings",
    "base_key",
    "images_of",
    "lint",
    "settings_of",
]

_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"


@frozen
class Report:
    """The findings of one file, in the order of their places. `unknown` are the images whose environment nobody knows: of the
    stages on them it was not asked which variables are defined. `is_error` says that a finding is an error."""

    findings: tuple[Finding, ...]
    unknown: tuple[str, ...] = ()
    is_error: bool = False


def settings_of(dockerfile: Dockerfile, known: Known) -> Settings:
    """What a file, or in its place the build argument BUILDKIT_DOCKERFILE_CHECK, says of rules.

    Raises DockerfileError for a directive that cannot be read, and PlanError for such an argument.
    """
    given = dict(known.build_args).get(_ARGUMENT)
    if given is not None:
        try:
            return Settings.parse(given)
        except ValueError as error:
            raise PlanError(f"--build-arg {_ARGUMENT}: {error}") from None
    directive = dict(dockerfile.directives).get("check", "")
    try:
        return Settings.parse(directive.split(" ", 1)[0])
    except ValueError as error:
        raise _wrong_directive(dockerfile.source, str(error)) from None


def lint(dockerfile: Dockerfile, known: Known, settings: Settings | None = None) -> Report:
    """What the rules find. `settings` are those of the file unless others are given. Raises what `settings_of` does."""
    chosen = settings or settings_of(dockerfile, known)
    seen = view(dockerfile, known)
    found: list[tuple[Span, int, Finding]] = []
    for place, rule in enumerate(RULES):
        for hit in rule.check(seen):
            comments = seen.around.comments.get(hit.at.span.line, ()) if hit.at is not None else ()
            if chosen.beneath(comments).counts(rule.name, is_experimental=rule.is_experimental):
                found.append((hit.span, place, Finding(rule.name, hit.span, hit.message, hit.hint, hit.edits)))
    found.sort(key=lambda item: item[:2])
    return Report(tuple(finding for _, _, finding in found), seen.unknown, chosen.is_error and bool(found))


def _wrong_directive(source: Source, message: str) -> DockerfileError:
    for number, text in enumerate(source.text.split("\n"), 1):
        if text.lstrip("# \t").lower().startswith("check"):
            return DockerfileError(message, span=Span(number, 1, number, len(text) + 1), source=source)
    return DockerfileError(message, span=Span(1, 1, 1, 1), source=source)
