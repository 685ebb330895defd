"""`pybuild pull`."""

from __future__ import annotations

import sys

import click

from pybuild import api
from pybuild.cli.registry_options import insecure_option
from pybuild.progress import MODES, open_progress


@click.command("pull", short_help="Fetch an image from a registry")
@click.argument("name")
@click.option("--platform", metavar="OS/ARCH", help="Which image of several; else this machine's.")
@insecure_option
@click.option("-q", "--quiet", is_flag=True, help="Print the name alone.")
@click.option("--progress", type=click.Choice(MODES), default="auto", show_default=True, help="How to show what happens.")
def command(name: str, platform: str | None, insecure: bool, quiet: bool, progress: str) -> None:
    """Fetch the image NAME from its registry."""
    shown = open_progress("quiet" if quiet else progress, sys.stderr)
    image = api.pull(name, platform=platform, insecure=insecure, progress=shown)
    from pybuild.registry.reference import Reference

    if not quiet:
        click.echo(f"Digest: {image.descriptor.digest}")
    click.echo(str(Reference.parse(name)))
