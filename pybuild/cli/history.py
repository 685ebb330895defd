"""`pybuild history`."""

from __future__ import annotations

import click

from pybuild import api
from pybuild.cli.completion import IMAGE
from pybuild.cli.templates import print_rows
from pybuild.listings import shown_history

_HEADS = {"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT"}


@click.command("history", short_help="Show how an image came to be")
@click.argument("name", type=IMAGE)
@click.option("--no-trunc", is_flag=True, help="Show whole commands.")
@click.option("-q", "--quiet", is_flag=True, help="Print IDs alone.")
@click.option("-H", "--human/--no-human", default=True, help="Sizes and times for people.")
@click.option("--format", "template", metavar="TEMPLATE", help="A Go template for each step, `table TEMPLATE`, or json.")
def command(name: str, no_trunc: bool, quiet: bool, human: bool, template: str | None) -> None:
    """Show how the image NAME came to be, the newest step first."""
    rows = shown_history(api.history(name), no_trunc=no_trunc, human=human)
    if quiet and template is None:
        for row in rows:
            click.echo(str(row["ID"]))
        return
    print_rows(rows, template, tuple(_HEADS), _HEADS)
