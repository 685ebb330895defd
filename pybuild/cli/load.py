"""`pybuild load`."""

from __future__ import annotations

import sys

import click

from pybuild import api
from pybuild.cli.completion import FILE


@click.command("load", short_help="Read images from an archive")
@click.option("-i", "--input", "source", type=FILE, metavar="FILE", help="The archive; else standard input.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing.")
def command(source: str | None, quiet: bool) -> None:
    """Read the images of an archive that docker, podman or pybuild wrote."""
    if source is None:
        if sys.stdin.isatty():
            raise click.UsageError("nothing comes from standard input: name the archive with -i FILE")
        found = api.load(sys.stdin.buffer)
    else:
        with open(source, "rb") as file:
            found = api.load(file)
    if quiet:
        return
    for image, names in found:
        if not names:
            click.echo(f"Loaded image ID: {image.id}")
        for name in names:
            click.echo(f"Loaded image: {name.familiar}")
