"""`pybuild tag`."""

from __future__ import annotations

import click

from pybuild import api
from pybuild.cli.completion import IMAGE


@click.command("tag", short_help="Give an image another name")
@click.argument("source", type=IMAGE)
@click.argument("target")
def command(source: str, target: str) -> None:
    """Make the image SOURCE, a name or an ID, known as TARGET too."""
    api.tag(source, target)
