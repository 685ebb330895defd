"""What a linter found, as people, programs, code scanners and GitHub's log read it: one function for each format. Pure."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pybuild.builder.lint import BY_NAME, RULES, Edit, Finding, Report
from pybuild.grammar import Source, Span

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_YELLOW, _RED, _DIM, _PLAIN = "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that could not be linted: where it stops making sense, if that has a place, and the error's own text."""

    name: str
    message: str
    shown: str
    span: Span | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was linted. `can_mend` is how many of its findings --fix would mend."""

    source: Source
    report: Report
    can_mend: int = 0

    @property
    def level(self) -> str:
        """How much a finding of this file counts."""
        return "error" if self.report.is_error else "warning"


Result = Checked | Broken


def as_text(results: Sequence[Result], *, has_colour: bool = False) -> str:
    """Each finding with its line and a mark under it, and what there is in all. Errors are shown elsewhere."""
    blocks = [
        _block(checked, finding, has_colour=has_colour)
        for checked in results
        if isinstance(checked, Checked)
        for finding in checked.report.findings
    ]
    return "".join(f"{block}\n\n" for block in blocks) + summary(results) + "\n"


def _block(checked: Checked, finding: Finding, *, has_colour: bool) -> str:
    shown = checked.source.show(f"{checked.level}: {finding.message} [{finding.rule}]", finding.span)
    hint = f"\nhint: {finding.hint}" if finding.hint else ""
    if not has_colour:
        return shown + hint
    colour = _RED if checked.level == "error" else _YELLOW
    shown = shown.replace(f"{checked.level}:", f"{colour}{checked.level}:{_PLAIN}", 1)
    return shown + hint.replace("hint:", f"{_YELLOW}hint:{_PLAIN}", 1)


def summary(results: Sequence[Result]) -> str:
    """How many findings there are, and how many of them have a fix."""
    checked = [item for item in results if isinstance(item, Checked)]
    count = sum(len(item.report.findings) for item in checked)
    broken = len({item.name for item in results if isinstance(item, Broken)})
    parts = [_counted(count, "finding") if count or not broken else ""]
    if can_mend := sum(item.can_mend for item in checked):
        parts.append(f"{can_mend} of them can be mended with --fix")
    if broken:
        parts.append(f"{_counted(broken, 'file')} could not be read")
    return ", ".join(part for part in parts if part)


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def as_json(results: Sequence[Result]) -> str:
    """A document: `findings`, `errors` of files that could not be linted, and `unknown` images."""
    findings = [
        {
            "rule": finding.rule,
            "severity": checked.level,
            "file": checked.source.name,
            **_place(finding.span),
            "message": finding.message,
            "hint": finding.hint,
            "page": BY_NAME[finding.rule].page,
            "url": BY_NAME[finding.rule].url,
            "fix": [{**_place(edit.span), "text": edit.text} for edit in finding.edits] or None,
        }
        for checked in results
        if isinstance(checked, Checked)
        for finding in checked.report.findings
    ]
    errors = [
        {"file": item.name, **(_place(item.span) if item.span else {}), "message": item.message, "hint": item.hint}
        for item in results
        if isinstance(item, Broken)
    ]
    unknown = [
        {"file": item.source.name, "image": image}
        for item in results
        if isinstance(item, Checked)
        for image in item.report.unknown
    ]
    return json.dumps({"findings": findings, "errors": errors, "unknown": unknown}, indent=2, ensure_ascii=False) + "\n"


def _place(span: Span) -> dict[str, int]:
    return {"line": span.line, "column": span.column, "end_line": span.end_line, "end_column": span.end_column}


def as_sarif(results: Sequence[Result]) -> str:
    """A log of SARIF 2.1.0, which code scanners and editors read. Source: OASIS, sarif-v2.1.0."""
    from pybuild import __version__

    numbers = {rule.name: number for number, rule in enumerate(RULES)}
    rules = [
        {
            "id": rule.name,
            "shortDescription": {"text": rule.summary},
            "helpUri": rule.url,
            "defaultConfiguration": {"enabled": not rule.is_experimental, "level": "warning"},
            "properties": {"page": rule.page},
        }
        for rule in RULES
    ]
    found = [
        {
            "ruleId": finding.rule,
            "ruleIndex": numbers[finding.rule],
            "level": checked.level,
            "message": {"text": finding.message + (f"; {finding.hint}" if finding.hint else "")},
            "locations": [_location(checked.source.name, finding.span)],
            **({"fixes": [_fix(checked.source.name, finding.edits)]} if finding.edits else {}),
        }
        for checked in results
        if isinstance(checked, Checked)
        for finding in checked.report.findings
    ]
    troubles = [
        {
            "level": "error",
            "message": {"text": item.message},
            "locations": [_location(item.name, item.span)],
        }
        for item in results
        if isinstance(item, Broken)
    ]
    run = {
        "tool": {"driver": {"name": "pybuild", "version": __version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": not troubles, "toolExecutionNotifications": troubles}],
        "results": found,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _location(name: str, span: Span | None) -> dict[str, object]:
    place: dict[str, object] = {"artifactLocation": {"uri": _uri(name)}}
    if span is not None:
        place["region"] = _region(span)
    return {"physicalLocation": place}


def _uri(name: str) -> str:
    from urllib.parse import quote

    path = quote(os.fsencode(name))
    return f"file://{path}" if path.startswith("/") else path


def _region(span: Span) -> dict[str, int]:
    return {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }


def _fix(name: str, edits: Sequence[Edit]) -> dict[str, object]:
    replacements = [{"deletedRegion": _region(edit.span), "insertedContent": {"text": edit.text}} for edit in edits]
    return {"artifactChanges": [{"artifactLocation": {"uri": _uri(name)}, "replacements": replacements}]}


def as_github(results: Sequence[Result]) -> str:
    """Workflow commands, which GitHub shows beside the lines. Source: GitHub, "Workflow commands"."""
    lines = []
    for item in results:
        if isinstance(item, Broken):
            lines.append(_command("error", item.name, item.span, "Dockerfile", item.message))
            continue
        for finding in item.report.findings:
            text = finding.message + (f"; {finding.hint}" if finding.hint else "")
            lines.append(_command(item.level, item.source.name, finding.span, finding.rule, text))
    return "".join(f"{line}\n" for line in lines)


def _command(kind: str, name: str, span: Span | None, title: str, message: str) -> str:
    fields = {"file": name}
    if span is not None:
        fields |= {
            "line": str(span.line),
            "endLine": str(span.end_line),
            "col": str(span.column),
            "endColumn": str(span.end_column),
        }
    fields["title"] = title
    said = ",".join(f"{key}={_escaped(value, ',:')}" for key, value in fields.items())
    return f"::{kind} {said}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    for character in ("%", "\r", "\n", *more):
        text = text.replace(character, f"%{ord(character):02X}")
    return text


FORMATS: dict[str, Callable[[Sequence[Result]], str]] = {
    "text": as_text,
    "json": as_json,
    "sarif": as_sarif,
    "github": as_github,
}
