"""A parsed Dockerfile as text again, and as a document for JSON. Pure.

The text is a Dockerfile of its own, one instruction a line, without comments and continuations; it parses as what it was made of.
The document's shape is told in docs/parse.md, and stays.
"""

from __future__ import annotations

import json

from pybuild.grammar.blanks import SPACES
from pybuild.grammar.instructions import Dockerfile, From, Instruction, Pairs, Stage
from pybuild.hints import Any


def print_dockerfile(dockerfile: Dockerfile) -> str:
    """The file as text, its directives first."""
    lines = [f"# {name}={value}" for name, value in dockerfile.directives]
    lines += [print_instruction(instruction, escape=dockerfile.escape) for instruction in dockerfile.instructions]
    return "\n".join(lines) + "\n"


def print_instruction(instruction: Instruction, *, escape: str = "\\") -> str:
    """An instruction on one line, and the bodies of its here-documents on those behind."""
    rest = _rest(instruction)
    flags = [flag.text for flag in instruction.flags]
    if rest.startswith("--"):
        flags.append("--")
    line = " ".join(part for part in (instruction.keyword, *flags, rest) if part)
    if line.endswith(escape) and not line[:-1].endswith(escape):
        # Not the continuation that it looks like: a form feed is a blank at the line's end, and none behind an escape.
        line += "\f"
    return "".join((line, *(f"\n{body.raw}{body.name}" for body in instruction.bodies)))


def _rest(instruction: Instruction) -> str:
    if instruction.is_json:
        words = json.dumps(instruction.args if instruction.keyword != "HEALTHCHECK" else instruction.args[1:], ensure_ascii=False)
        return words if instruction.keyword != "HEALTHCHECK" else f"{instruction.args[0]} {words}"
    if "<<" in instruction.rest or instruction.rest.startswith("["):
        # In and behind a here-document's name each blank counts; and in an array a tab is no JSON, where a space is.
        return instruction.rest
    if isinstance(instruction, Pairs) and not instruction.is_legacy:
        text = " ".join(f"{pair.name.text}={pair.value.text}" for pair in instruction.pairs)
    else:
        text = " ".join(instruction.args)
    # A quote that is not closed may hide blanks at the end, from an escape that went away.
    return text if text == text.strip(SPACES) else instruction.rest


def document(dockerfile: Dockerfile) -> dict[str, Any]:
    """The file as values that JSON has."""
    return {
        "directives": dict(dockerfile.directives),
        "instructions": [_instruction(instruction) for instruction in dockerfile.instructions],
        "stages": [_stage(stage) for stage in dockerfile.stages],
    }


def _instruction(instruction: Instruction) -> dict[str, Any]:
    return {
        "keyword": instruction.keyword.lower(),
        "flags": [flag.text for flag in instruction.flags],
        "args": list(instruction.args),
        "json": instruction.is_json,
        "heredocs": [
            {"name": body.name, "content": body.raw, "expand": body.expand, "chomp": body.chomp} for body in instruction.bodies
        ],
        "original": instruction.original,
        "start_line": instruction.first_line,
        "end_line": instruction.last_line,
    }


def _stage(stage: Stage) -> dict[str, Any]:
    start: From = stage.start
    platform = start.flag("platform")
    return {
        "index": stage.index,
        "name": stage.name if start.name else None,
        "image": start.image.text,
        "platform": platform.value.text if platform and platform.value else None,
        "start_line": start.first_line,
        "end_line": max(instruction.last_line for instruction in (start, *stage.instructions)),
    }
