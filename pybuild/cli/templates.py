"""`--format`: the part of Go's text/template that docker's users write, and tables of rows.

Fields and pipes, `if`, `else if`, `range`, `with`, variables of `range`, and the functions of the table at the end. Other
variables, calls of methods and Go's other functions are refused. Pure but for printing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import click

from pybuild.progress.text import printable
from pybuild.values import natural

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|`[^`]*`|:=|[|(),]|\$?[\w.]+|\$)')
_BLOCKS = ("if", "range", "with")
_VERB = re.compile(r"%(-?)(\d*)(.?)", re.DOTALL)


@dataclass(slots=True)
class _Node:
    """A piece of text, an expression, or a block with its two bodies."""

    kind: str
    text: str = ""
    body: list[_Node] = field(default_factory=list)
    other: list[_Node] = field(default_factory=list)


class Template:
    """A compiled template. Raises click.UsageError for one that is malformed."""

    def __init__(self, text: str) -> None:
        text = text.replace("\\t", "\t").replace("\\n", "\n")
        self._nodes = _parse(text)

    def render(self, value: object) -> str:
        """The template with `.` being `value`. Raises click.UsageError for a field that is not there."""
        return _render(self._nodes, value, {"$": value})


def _parse(text: str) -> list[_Node]:
    root = _Node("root")
    # Open blocks: the node, the body that is being filled, and whether it is an `else if`, which ends with the block around it.
    stack: list[tuple[_Node, list[_Node], bool]] = [(root, root.body, False)]
    position = 0
    trim = False
    for match in _ACTION.finditer(text):
        piece = text[position : match.start()]
        piece = piece.lstrip() if trim else piece
        stack[-1][1].append(_Node("text", piece.rstrip() if match[1] else piece))
        position, trim = match.end(), bool(match[3])
        action = match[2]
        word = action.split(None, 1)[0] if action else ""
        if word in _BLOCKS:
            node = _Node(word, action[len(word) :].strip())
            stack[-1][1].append(node)
            stack.append((node, node.body, False))
        elif word in ("else", "end") and len(stack) == 1:
            raise click.UsageError(f"--format: {{{{{word}}}}} without an if or a range")
        elif word == "else":
            _otherwise(stack, action[len(word) :].strip())
        elif word == "end":
            while stack.pop()[2]:
                pass
        elif not action.startswith("/*"):
            stack[-1][1].append(_Node("value", action))
    if len(stack) > 1:
        raise click.UsageError(f"--format: {{{{{stack[-1][0].kind}}}}} without an {{{{end}}}}")
    rest = text[position:]
    if "{{" in rest:
        raise click.UsageError("--format: {{ without }}")
    root.body.append(_Node("text", rest.lstrip() if trim else rest))
    return root.body


def _otherwise(stack: list[tuple[_Node, list[_Node], bool]], condition: str) -> None:
    """Go on with the other body of the block at work; with a condition, inside a block of its own."""
    node, body, is_chained = stack[-1]
    if body is node.other:
        raise click.UsageError("--format: {{else}} behind {{else}}")
    stack[-1] = (node, node.other, is_chained)
    if not condition:
        return
    word, _, expression = condition.partition(" ")
    if word not in ("if", "with") or node.kind == "range":
        raise click.UsageError(f"--format: cannot read {'else ' + condition!r}")
    chained = _Node(word, expression.strip())
    node.other.append(chained)
    stack.append((chained, chained.body, True))


def _render(nodes: Sequence[_Node], dot: object, names: Mapping[str, object]) -> str:
    parts = []
    for node in nodes:
        if node.kind == "text":
            parts.append(node.text)
        elif node.kind == "value":
            parts.append(_shown(_evaluate(node.text, dot, names)))
        elif node.kind == "range":
            parts.append(_repeated(node, dot, names))
        else:
            value = _evaluate(node.text, dot, names)
            chosen = node.body if value else node.other
            parts.append(_render(chosen, value if node.kind == "with" and value else dot, names))
    return "".join(parts)


def _repeated(node: _Node, dot: object, names: Mapping[str, object]) -> str:
    head, assigned, expression = node.text.rpartition(":=")
    variables = [name.strip() for name in head.split(",")] if assigned else []
    value = _evaluate(expression, dot, names)
    if isinstance(value, Mapping):
        pairs: list[tuple[object, object]] = sorted(value.items())
    else:
        pairs = list(enumerate(value)) if isinstance(value, list | tuple) else []
    if not pairs:
        return _render(node.other, dot, names)
    parts = []
    for key, item in pairs:
        inner = dict(names)
        if len(variables) == 2:
            inner |= {variables[0]: key, variables[1]: item}
        elif variables:
            inner[variables[0]] = item
        parts.append(_render(node.body, item, inner))
    return "".join(parts)


def _evaluate(text: str, dot: object, names: Mapping[str, object]) -> object:
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s+(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", "", text):
        raise click.UsageError(f"--format: cannot read {text!r}")
    value, rest = _pipeline(tokens, dot, names)
    if rest:
        raise click.UsageError(f"--format: cannot read {text!r}")
    return value


def _pipeline(tokens: list[str], dot: object, names: Mapping[str, object]) -> tuple[object, list[str]]:
    piped: list[object] = []
    while True:
        words: list[object] = []
        function: Callable[..., object] | None = None
        while tokens and tokens[0] not in ("|", ")"):
            token, tokens = tokens[0], tokens[1:]
            if token == "(":
                inner, tokens = _pipeline(tokens, dot, names)
                tokens = tokens[1:]
                words.append(inner)
            elif not words and function is None and token in _FUNCTIONS:
                function = _FUNCTIONS[token]
            else:
                words.append(_operand(token, dot, names))
        words += piped
        try:
            value = function(*words) if function else words[0]
        except (TypeError, IndexError, KeyError, AttributeError):
            raise click.UsageError("--format: a function with the wrong number or kind of arguments") from None
        if tokens and tokens[0] == "|":
            piped, tokens = [value], tokens[1:]
            continue
        return value, tokens


def _operand(token: str, dot: object, names: Mapping[str, object]) -> object:
    if token[0] == '"':
        try:
            return json.loads(token)
        except ValueError:
            raise click.UsageError(f"--format: cannot read {token}") from None
    if token[0] == "`":
        return token[1:-1]
    if (number := natural(token)) is not None:
        return number
    if token in ("true", "false"):
        return token == "true"
    if token[0] not in ".$":
        close = get_close_matches(token, _FUNCTIONS, 1)
        raise click.UsageError(f"--format: no function {token!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    name, _, path = token.partition(".")
    if name and name not in names:
        raise click.UsageError(f"--format: no variable {name!r}")
    value = names[name] if name else dot
    for part in filter(None, path.split(".")):
        value = _field(value, part)
    return value


def _field(value: object, name: str) -> object:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise click.UsageError(f"--format: there is no {name} in {_shown(value)!r}")
    if name in value:
        return value[name]
    if not value or not next(iter(value))[:1].isupper():
        return None
    close = get_close_matches(name.lower(), {str(key).lower(): key for key in value}, 1)
    known = next((str(key) for key in value if close and str(key).lower() == close[0]), "")
    hint = f"; did you mean .{known}?" if known else f"; there are {', '.join(str(key) for key in value)}"
    raise click.UsageError(f"--format: there is no .{name}{hint}")


def _shown(value: object) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_shown(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(_shown(item) for item in value) + "]"
    return str(value)


def _index(value: object, *keys: object) -> object:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, list | tuple) and isinstance(key, int):
            value = value[key]
        else:
            raise TypeError
    return value


def _printf(pattern: str, *values: object) -> str:
    waiting = list(values)

    def filled(match: re.Match[str]) -> str:
        side, width, verb = match.groups()
        if verb == "%":
            return "%"
        if verb not in ("s", "v", "d", "q") or not waiting:
            raise TypeError
        value = waiting.pop(0)
        if verb == "d" and not isinstance(value, int):
            raise TypeError
        text = json.dumps(value, ensure_ascii=False) if verb == "q" else _shown(value)
        return text.ljust(int(width or 0)) if side else text.rjust(int(width or 0))

    text = _VERB.sub(filled, pattern)
    if waiting:
        raise TypeError
    return text


_FUNCTIONS: dict[str, Callable[..., object]] = {
    "and": lambda *values: next((value for value in values if not value), values[-1]),
    "eq": lambda first, *others: first in others,
    "index": _index,
    "join": lambda values, separator: separator.join(str(value) for value in values or ()),
    "json": lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    "len": lambda value: len(value or ()),
    "lower": lambda value: value.lower(),
    "ne": lambda first, second: first != second,
    "not": lambda value: not value,
    "or": lambda *values: next((value for value in values if value), values[-1]),
    "print": lambda *values: "".join(_shown(value) for value in values),
    "printf": _printf,
    "println": lambda *values: " ".join(_shown(value) for value in values) + "\n",
    "split": lambda value, separator: value.split(separator),
    "title": lambda value: value.title(),
    "upper": lambda value: value.upper(),
}


def print_rows(
    rows: Sequence[Mapping[str, object]], template: str | None, columns: Sequence[str], heads: Mapping[str, str]
) -> None:
    """Print rows as docker does: a table, each by a template, a table by one (`table ...`), or JSON lines."""
    if template == "json":
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    if template is None or template == "table":
        template = "table " + "\t".join(f"{{{{.{column}}}}}" for column in columns)
    if not template.startswith("table "):
        compiled = Template(template)
        for row in rows:
            click.echo(compiled.render(row))
        return
    compiled = Template(template.removeprefix("table ").strip())
    names = {name: heads.get(name, name.upper()) for row in rows[:1] for name in row} or dict(heads)
    lines = [compiled.render(row).split("\t") for row in ({**names}, *rows)]
    widths = [max(len(line[place]) for line in lines if place < len(line)) for place in range(max(map(len, lines)))]
    for line in lines:
        # Commands of a history are in it, and a table is for a terminal.
        click.echo(printable("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()))
