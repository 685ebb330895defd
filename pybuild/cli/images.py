"""`pybuild images`."""

from __future__ import annotations

import click

from pybuild import api
from pybuild.cli.completion import IMAGE
from pybuild.cli.templates import print_rows
from pybuild.listings import Filter, image_rows

_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_HEADS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
    "Digest": "DIGEST",
}


@click.command("images", short_help="List images")
@click.argument("name", type=IMAGE, required=False)
@click.option("-q", "--quiet", is_flag=True, help="Print IDs alone.")
@click.option("--digests", is_flag=True, help="Show digests too.")
@click.option("--no-trunc", is_flag=True, help="Show whole IDs.")
@click.option(
    "-f", "--filter", "filters", multiple=True, metavar="NAME=VALUE", help="Those alone: dangling=BOOL, reference=PATTERN."
)
@click.option("--format", "template", metavar="TEMPLATE", help="A Go template for each image, `table TEMPLATE`, or json.")
def command(name: str | None, quiet: bool, digests: bool, no_trunc: bool, filters: tuple[str, ...], template: str | None) -> None:
    """List the images in the store, the newest first; NAME[:TAG] shows those alone."""
    try:
        only = Filter.parse(filters)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from None
    rows = image_rows(api.images(), name=name, no_trunc=no_trunc, only=only)
    if quiet and template is None:
        for identity in dict.fromkeys(str(row["ID"]) for row in rows):
            click.echo(identity)
        return
    columns = ("Repository", "Tag", "Digest", *_COLUMNS[2:]) if digests else _COLUMNS
    print_rows(rows, template, columns, _HEADS)
