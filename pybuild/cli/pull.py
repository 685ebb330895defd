"""`pybuild pull`."""

from __future__ import annotations

import os
import sys

import click

from pybuild import registries
from pybuild.cli.options import PLATFORM
from pybuild.cli.registry_options import insecure_option, timeout_option
from pybuild.progress import MODES, open_progress


@click.command("pull", short_help="Fetch an image from a registry")
@click.argument("name")
@click.option("--platform", metavar="OS/ARCH", help="Which image of several; else this machine's.")
@click.option("--all", "-a", "all_platforms", is_flag=True, help="The images for all platforms.")
@insecure_option
@timeout_option
@click.option("-q", "--quiet", is_flag=True, help="Print the name alone.")
@click.option("--progress", type=click.Choice(MODES), default="auto", show_default=True, help="How to show what happens.")
def command(
    name: str,
    platform: str | None,
    all_platforms: bool,
    insecure: bool,
    timeout_seconds: float | None,
    quiet: bool,
    progress: str,
) -> None:
    """Fetch the image NAME from its registry."""
    if all_platforms and platform is not None:
        raise click.UsageError("--all and --platform exclude each other")
    if not all_platforms:
        platform = platform or os.environ.get(PLATFORM) or None
    shown = open_progress("quiet" if quiet else progress, sys.stderr)
    image = registries.pull(
        name, platform=platform, all_platforms=all_platforms, insecure=insecure, timeout_seconds=timeout_seconds, progress=shown
    )
    from pybuild.registry.platform import Platform
    from pybuild.registry.reference import Reference

    if platform is not None and not image.config.platform.suits(Platform.parse(platform)):
        # What is no index has one image, and it is what the name means.
        click.echo(f"warning: {name} is for {image.config.platform} alone, not for {platform}", err=True)
    if not quiet:
        click.echo(f"Digest: {image.descriptor.digest}")
    click.echo(str(Reference.parse(name)))
