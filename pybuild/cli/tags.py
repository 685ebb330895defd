"""`pybuild tags`."""

from __future__ import annotations

import json

import click

from pybuild import registries
from pybuild.cli.registry_options import insecure_option


@click.command("tags", short_help="List the tags of a repository in its registry")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
@insecure_option
def command(name: str, as_json: bool, insecure: bool) -> None:
    """List all tags of the repository NAME in its registry, one a line."""
    found = registries.tags(name, insecure=insecure)
    click.echo(json.dumps(found) if as_json else "\n".join(found), nl=bool(found) or as_json)
