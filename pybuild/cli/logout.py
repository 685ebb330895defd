"""`pybuild logout`."""

from __future__ import annotations

import click

from pybuild import registries
from pybuild.cli.completion import FILE
from pybuild.registry.reference import HUB


@click.command("logout", short_help="Log out of a registry")
@click.argument("registry", default=HUB)
@click.option("--authfile", type=FILE, metavar="FILE", help="The file to remove it from, in place of ~/.docker/config.json.")
def command(registry: str, authfile: str | None) -> None:
    """Forget the credentials of REGISTRY (Docker Hub when there is none)."""
    was_there = registries.logout(registry, authfile=authfile)
    click.echo(f"Removed the login credentials for {registry}" if was_there else f"Not logged in to {registry}")
