"""`pybuild push`."""

from __future__ import annotations

import sys

import click

from pybuild import registries
from pybuild.cli.registry_options import insecure_option, timeout_option
from pybuild.progress import MODES, open_progress


@click.command("push", short_help="Put an image into a registry")
@click.argument("name")
@insecure_option
@timeout_option
@click.option("-q", "--quiet", is_flag=True, help="Print the name alone.")
@click.option("--progress", type=click.Choice(MODES), default="auto", show_default=True, help="How to show what happens.")
def command(name: str, insecure: bool, timeout_seconds: float | None, quiet: bool, progress: str) -> None:
    """Put the image NAME into the registry that its name says."""
    shown = open_progress("quiet" if quiet else progress, sys.stderr)
    pushed = registries.push(name, insecure=insecure, timeout_seconds=timeout_seconds, progress=shown)
    from pybuild.registry.reference import Reference

    reference = Reference.parse(name)
    click.echo(reference.familiar if quiet else f"{reference.tag or 'latest'}: digest: {pushed.digest} size: {pushed.size}")
