"""`build --call`: what a Dockerfile offers instead of an image of it, as text and as JSON, spelt as buildx spells them. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence

from pybuild.builder.lint import BY_NAME, Finding
from pybuild.builder.lint.outline import Lines, Outline, Target, Wanted
from pybuild.grammar import Source, Span

Rows = Iterable[Sequence[str]]


def outline_text(outline: Outline) -> str:
    """A table each for the target, its arguments, secrets, ssh agents and caches; those without rows are left out."""
    tables: list[str] = []
    if outline.name or outline.description:
        rows = [("TARGET:", outline.name or "(default)")]
        rows += [("DESCRIPTION:", outline.description)] if outline.description else []
        tables.append(_table(rows, 1))
    if outline.arguments:
        described = [(item.name, item.value, item.description) for item in outline.arguments]
        tables.append(_table([("BUILD ARG", "VALUE", "DESCRIPTION"), *described], 3))
    for title, wanted in (("SECRET", outline.secrets), ("SSH", outline.ssh)):
        if wanted:
            required = [(item.id, "true" if item.is_required else "") for item in wanted]
            tables.append(_table([(title, "REQUIRED"), *required], 3))
    if outline.caches:
        tables.append(_table([("CACHE",), *((item.id,) for item in outline.caches)], 3))
    return "".join(f"{table}\n" for table in tables)


def targets_text(targets: Sequence[Target]) -> str:
    """A table of the stages, the last marked."""
    rows = [("TARGET", "DESCRIPTION")]
    for target in targets:
        marked = "(default)" if target.is_default else ""
        rows.append((" ".join(part for part in (target.name, marked) if part), target.description))
    return _table(rows, 1)


def _table(rows: Rows, gap: int) -> str:
    """Columns as wide as their widest cell, the last as it comes."""
    lines = [list(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) + gap for column in range(len(lines[0]))]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)) + line[-1] + "\n" for line in lines
    )


def outline_json(outline: Outline, source: Source) -> str:
    """The outline as BuildKit's `frontend.outline` answers."""
    document = _filled(
        name=outline.name,
        description=outline.description,
        args=[
            _filled(name=item.name, description=item.description, value=item.value, location=_location(item.lines))
            for item in outline.arguments
        ],
        secrets=[_wanted("name", item) for item in outline.secrets],
        ssh=[_wanted("name", item) for item in outline.ssh],
        cache=[_wanted("ID", item) for item in outline.caches],
        sources=[_encoded(source)],
    )
    return _dumped(document)


def targets_json(targets: Sequence[Target], source: Source) -> str:
    """The targets as BuildKit's `frontend.targets` answers."""
    rows = [
        _filled(
            name=target.name,
            default=target.is_default,
            description=target.description,
            base=target.base,
            platform=target.platform,
            location=_location(target.lines),
        )
        for target in targets
    ]
    return _dumped({"targets": rows, "sources": [_encoded(source)]})


def check_json(findings: Sequence[Finding], source: Source, error: tuple[str, Span | None] | None) -> str:
    """The findings as BuildKit's `frontend.lint` answers; `error` is what a build would end with."""
    warnings = [
        {
            "ruleName": finding.rule,
            "description": BY_NAME[finding.rule].summary,
            "url": BY_NAME[finding.rule].url,
            "detail": finding.message + (f" ({finding.hint})" if finding.hint else ""),
            "location": _location((finding.span.line, finding.span.line)),
        }
        for finding in findings
    ]
    document: dict[str, object] = {
        "warnings": warnings,
        "sources": [{"filename": source.name, "language": "Dockerfile", "data": _encoded(source)}],
    }
    if error is not None:
        message, span = error
        place = _location((span.line, span.end_line)) if span is not None else {}
        document["buildError"] = {"message": message, "location": place}
    return _dumped(document)


def _wanted(key: str, wanted: Wanted) -> dict[str, object]:
    return _filled(**{key: wanted.id, "required": wanted.is_required, "location": _location(wanted.lines)})


def _filled(**fields: object) -> dict[str, object]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in ("", [], False)}


def _location(lines: Lines) -> dict[str, object]:
    return {"ranges": [{"start": {"line": line}, "end": {"line": line}} for line in range(lines[0], lines[1] + 1)]}


def _encoded(source: Source) -> str:
    return base64.b64encode(source.text.encode("utf-8", "surrogateescape")).decode("ascii")


def _dumped(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
