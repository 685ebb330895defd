"""`pybuild save`."""

from __future__ import annotations

import sys

import click

from pybuild import api
from pybuild.builder.errors import ExportError
from pybuild.builder.publishing.export import check_folder, opened
from pybuild.cli.completion import FILE, IMAGE


@click.command("save", short_help="Write images to an archive")
@click.argument("names", type=IMAGE, nargs=-1, required=True, metavar="NAME...")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="The archive; else standard output.")
def command(names: tuple[str, ...], output: str | None) -> None:
    """Write images as one archive, for `docker load`, `podman load`, or tools that read OCI archives."""
    if output is None:
        if sys.stdout.isatty():
            raise click.UsageError("an archive does not go to a terminal: write it with -o FILE, or into a pipe")
        api.save(names, sys.stdout.buffer)
        return
    check_folder(output, "FILE")
    try:
        with opened(output) as file:
            api.save(names, file)
    except PermissionError as error:
        raise ExportError(f"cannot write {output}: {error.strerror}", hint="choose another FILE") from error
