"""`pybuild save`."""

from __future__ import annotations

import contextlib
import os
import sys

import click

from pybuild import api
from pybuild.builder.publishing.export import check_folder
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
    temporary = f"{output}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            api.save(names, file)
        os.replace(temporary, output)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
