"""`pybuild parse`."""

from __future__ import annotations

import json
import os
import sys

import click

from pybuild.builder.errors import ContextError
from pybuild.cli.completion import FILE
from pybuild.grammar import Source, parse
from pybuild.grammar.printing import document, print_dockerfile


@click.command("parse", short_help="Show what a Dockerfile says")
@click.argument("file", type=FILE, default="Dockerfile")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="A Dockerfile again, or JSON.",
)
def command(file: str, form: str) -> None:
    """Show what the Dockerfile FILE says, or what is wrong with it. FILE may be a folder, or - for standard input."""
    source = _source(file)
    dockerfile = parse(source)
    for notice in dockerfile.notices:
        click.echo(f"warning: {notice.on(source)}", err=True)
    if form == "json":
        text = json.dumps(document(dockerfile), indent=2, ensure_ascii=False) + "\n"
        # JSON is Unicode: a byte of the file that is none cannot be said in it.
        click.echo(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode(), nl=False)
    else:
        click.echo(print_dockerfile(dockerfile).encode("utf-8", "surrogateescape"), nl=False)


def _source(file: str) -> Source:
    if file == "-":
        return Source.of("-", sys.stdin.buffer.read())
    path = os.path.join(file, "Dockerfile") if os.path.isdir(file) else file
    try:
        with open(path, "rb") as opened:
            return Source.of(path, opened.read())
    except (FileNotFoundError, NotADirectoryError):
        hint = "name a Dockerfile, a folder that has one, or - for standard input"
        raise ContextError(f"no Dockerfile: {path}", hint=hint) from None
