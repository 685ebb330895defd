"""`pybuild push`."""

from __future__ import annotations

import sys

import click

from pybuild import cli, registries
from pybuild.api import open_store
from pybuild.cli import outliving
from pybuild.cli.completion import IMAGE
from pybuild.cli.registry_options import insecure_option, timeout_option
from pybuild.progress import MODES, open_progress
from pybuild.registry.parallel import Stop


@click.command("push", short_help="Put an image into a registry")
@click.argument("name", type=IMAGE)
@insecure_option
@timeout_option
@click.option("-q", "--quiet", is_flag=True, help="Print the name alone.")
@click.option("--progress", type=click.Choice(MODES), default="auto", show_default=True, help="How to show what happens.")
def command(name: str, insecure: bool, timeout_seconds: float | None, quiet: bool, progress: str) -> int:
    """Put the image NAME into the registry that its name says."""
    stop = Stop()
    if cli.is_own_process and outliving.is_possible() and registries.goes_in_pieces(name):
        child, end = outliving.forked()
        if child:
            return outliving.waited_for(child)
        outliving.end_with(end, stop, open_store(None))
    shown = open_progress("quiet" if quiet else progress, sys.stderr)
    pushed = registries.push(name, insecure=insecure, timeout_seconds=timeout_seconds, progress=shown, stop=stop)
    from pybuild.registry.reference import Reference

    reference = Reference.parse(name)
    click.echo(reference.familiar if quiet else f"{reference.tag or 'latest'}: digest: {pushed.digest} size: {pushed.size}")
    return 0
