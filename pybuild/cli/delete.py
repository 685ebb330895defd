"""`pybuild delete`."""

from __future__ import annotations

import click

from pybuild import registries
from pybuild.cli.registry_options import insecure_option


@click.command("delete", short_help="Delete a tag or an image from a registry")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--all-tags", is_flag=True, help="The manifest itself, with all tags that it has.")
@insecure_option
def command(names: tuple[str, ...], all_tags: bool, insecure: bool) -> None:
    """Delete tags from their registry; NAME@DIGEST deletes the manifest itself, and all its tags. Nothing here is touched."""
    for name in names:
        registries.delete(name, all_tags=all_tags, insecure=insecure)
        click.echo(f"Deleted: {name}")
