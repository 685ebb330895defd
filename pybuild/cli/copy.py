"""`pybuild copy`."""

from __future__ import annotations

import sys

import click

from pybuild import registries
from pybuild.cli.registry_options import insecure_option, timeout_option
from pybuild.progress import MODES, open_progress

_HELP = """Copy an image, to the byte, from SOURCE to TARGET.

Each is NAME or docker://NAME in a registry, store:NAME, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], or
dir:DIR. From registry to registry nothing touches the disk, and a layer that the target's registry has in another repository
is mounted. All platforms of an image are copied, but to docker-archive, which holds one."""


@click.command("copy", short_help="Copy images between registries, folders and archives", help=_HELP)
@click.argument("source")
@click.argument("target")
@click.option("--platform", metavar="OS/ARCH", help="Only the image for this platform.")
@click.option("--referrers", is_flag=True, help="Copy what refers to the image too: signatures, attestations.")
@insecure_option
@timeout_option
@click.option("-j", "--jobs", metavar="N", type=click.IntRange(1), default=4, show_default=True, help="Blobs at the same time.")
@click.option("-q", "--quiet", is_flag=True, help="Print the digest alone.")
@click.option("--progress", type=click.Choice(MODES), default="auto", show_default=True, help="How to show what happens.")
def command(
    source: str,
    target: str,
    platform: str | None,
    referrers: bool,
    insecure: bool,
    timeout_seconds: float | None,
    jobs: int,
    quiet: bool,
    progress: str,
) -> None:
    shown = open_progress("quiet" if quiet else progress, sys.stderr)
    copied = registries.copy(
        source,
        target,
        platform=platform,
        referrers=referrers,
        insecure=insecure,
        timeout_seconds=timeout_seconds,
        jobs=jobs,
        progress=shown,
    )
    click.echo(copied.digest if quiet else f"Digest: {copied.digest}")
