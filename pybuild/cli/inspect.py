"""`pybuild inspect`."""

from __future__ import annotations

import json

import click

from pybuild import api
from pybuild.cli.completion import IMAGE
from pybuild.cli.templates import Template


@click.command("inspect", short_help="Show everything about images, as JSON")
@click.argument("names", type=IMAGE, nargs=-1, required=True, metavar="NAME...")
@click.option("-f", "--format", "template", metavar="TEMPLATE", help="A Go template such as {{.Id}}, or json.")
def command(names: tuple[str, ...], template: str | None) -> None:
    """Show everything about images, as docker does."""
    found = [api.inspect(name) for name in names]
    if template is None:
        click.echo(json.dumps(found, indent=4, ensure_ascii=False))
        return
    compiled = None if template == "json" else Template(template)
    for item in found:
        click.echo(compiled.render(item) if compiled else json.dumps(item, ensure_ascii=False))
