"""`pybuild rmi`."""

from __future__ import annotations

import click

from pybuild import api
from pybuild.cli.completion import IMAGE


@click.command("rmi", short_help="Remove images")
@click.argument("names", type=IMAGE, nargs=-1, required=True, metavar="NAME...")
@click.option("-f", "--force", is_flag=True, help="Remove an image by its ID even if it has several names.")
def command(names: tuple[str, ...], force: bool) -> None:
    """Take names away; an image goes with its last name, and with it all that nothing else needs."""
    for name in names:
        for line in api.remove(name, force=force):
            click.echo(line)
