"""`pybuild build --check` and `--call`: what is asked of a build instead of an image."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from pybuild.builder.lint.inquiry import Checked, at_hand, check, outlined, targeted
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import place_of
from pybuild.calls import check_json, outline_json, outline_text, targets_json, targets_text
from pybuild.colours import has_colour
from pybuild.grammar import Span
from pybuild.linting import StoredConfigs
from pybuild.progress.text import printable_lines
from pybuild.registry import RegistryError, Store
from pybuild.reports import Checked as Reported
from pybuild.reports import as_text

FOUND = 1


def answer(method: str, form: str, *, context: str, **options: object) -> int:
    """Print what is asked for; the exit code: 1 when a check finds anything. Raises what a build's planning does."""
    with at_hand(_request(context, options), place_of(None, os.environ)) as request:
        return _answer(method, form, request)


def _answer(method: str, form: str, request: BuildRequest) -> int:
    if method == "check":
        return _check(request, form)
    if method == "targets":
        targets, source = targeted(request)
        _write(targets_json(targets, source) if form == "json" else printable_lines(targets_text(targets)))
        return 0
    outline, source = outlined(request, StoredConfigs(place_of(None, os.environ)))
    _write(outline_json(outline, source) if form == "json" else printable_lines(outline_text(outline)))
    return 0


def _request(context: str, options: Mapping[str, object]) -> BuildRequest:
    from pybuild.registry.platform import Platform

    def pairs(name: str) -> tuple[tuple[str, str], ...]:
        found = options.get(name)
        return tuple(found.items()) if isinstance(found, dict) else ()

    def text(name: str) -> str | None:
        found = options.get(name)
        return found if isinstance(found, str) else None

    platform = text("platform")
    return BuildRequest(
        context,
        dockerfile=text("dockerfile"),
        build_args=pairs("build_args"),
        target=text("target"),
        contexts=pairs("build_contexts"),
        platform=Platform.parse(platform) if platform else None,
        pull=bool(options.get("pull")),
        insecure=bool(options.get("insecure")),
        network=text("network") or "default",
    )


def _check(request: BuildRequest, form: str) -> int:
    found = check(request, Store.open(place_of(None, os.environ)))
    if form == "json":
        _write(check_json(found.report.findings, found.source, _told(found)))
    else:
        _write(as_text([_reported(found)], has_colour=has_colour(sys.stdout)))
    if found.error is not None:
        raise found.error
    return FOUND if found.report.findings else 0


def _told(found: Checked) -> tuple[str, Span | None] | None:
    """What the build would end with, and where in the file."""
    error = found.error
    if error is None:
        return None
    return error.message, None if isinstance(error, RegistryError) else error.span


def _reported(found: Checked) -> Reported:
    return Reported(found.source, found.report, found.can_mend)


def _write(text: str) -> None:
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode())
    sys.stdout.flush()
