"""`pybuild manifest ...`: look at manifests, and make images for several platforms."""

from __future__ import annotations

import json
import sys

import click

from pybuild import registries
from pybuild.cli.misuse import Group
from pybuild.cli.options import pairs
from pybuild.cli.registry_options import insecure_option
from pybuild.progress import MODES, open_progress


def _pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    try:
        return pairs(values)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


_annotations = click.option(
    "--annotation", "annotations", multiple=True, metavar="K=V", callback=_pairs, help="An annotation; may be repeated."
)


@click.group("manifest", cls=Group, short_help="Look at manifests, and make images for several platforms")
def command() -> None:
    """Look at manifests, and make images for several platforms."""


@command.command("inspect", short_help="Print a manifest or an index")
@click.argument("name")
@click.option("--raw", is_flag=True, help="The bytes as they are.")
@click.option("--referrers", is_flag=True, help="What refers to it, in place of the document.")
@insecure_option
def inspect(name: str, raw: bool, referrers: bool, insecure: bool) -> None:
    """Print the manifest or index of NAME: a list in the making, or any place that `copy` takes."""
    if referrers:
        found = [item.document() for item in registries.referrers(name, insecure=insecure)]
        click.echo(json.dumps(found, indent=4, ensure_ascii=False))
        return
    document = registries.manifest(name, insecure=insecure)
    if raw:
        sys.stdout.buffer.write(document.raw)
        return
    click.echo(json.dumps(json.loads(document.raw), indent=4, ensure_ascii=False))


@command.command("create", short_help="Begin a list of images for several platforms")
@click.argument("name")
@click.argument("members", nargs=-1, metavar="[IMAGE...]")
@click.option("-a", "--amend", is_flag=True, help="Add to a list that is there.")
@_annotations
@insecure_option
def create(name: str, members: tuple[str, ...], amend: bool, annotations: dict[str, str], insecure: bool) -> None:
    """Begin the list NAME of images for several platforms; each IMAGE is any place that `copy` takes."""
    made = registries.create_list(name, members, amend=amend, annotations=annotations, insecure=insecure)
    for member in made.members:
        click.echo(f"{member.descriptor.platform or 'no platform'} {member.descriptor.digest} {member.source}")


@command.command("annotate", short_help="Change what a list says of an image")
@click.argument("name")
@click.argument("member", metavar="IMAGE")
@click.option("--platform", metavar="OS/ARCH", help="What the image is for.")
@click.option("--os-version", metavar="VERSION", help="Of Windows, mostly.")
@_annotations
def annotate(name: str, member: str, platform: str | None, os_version: str | None, annotations: dict[str, str]) -> None:
    """Change what the list NAME says of IMAGE: its name, its digest or its platform there."""
    registries.annotate_list(name, member, platform=platform, os_version=os_version, annotations=annotations)


@command.command("push", short_help="Push a list, and its images")
@click.argument("name")
@click.argument("target", required=False)
@click.option("--purge", is_flag=True, help="Forget the list when it has been pushed.")
@insecure_option
@click.option("-q", "--quiet", is_flag=True, help="Print the digest alone.")
@click.option("--progress", type=click.Choice(MODES), default="auto", show_default=True, help="How to show what happens.")
def push(name: str, target: str | None, purge: bool, insecure: bool, quiet: bool, progress: str) -> None:
    """Push the list NAME as an index, to TARGET if that is given: first its images, from where they are."""
    shown = open_progress("quiet" if quiet else progress, sys.stderr)
    pushed = registries.push_list(name, target, purge=purge, insecure=insecure, progress=shown)
    click.echo(pushed.digest if quiet else f"Digest: {pushed.digest}")


@command.command("rm", short_help="Forget lists in the making")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def rm(names: tuple[str, ...]) -> None:
    """Forget lists in the making; nothing in a registry is touched."""
    for name in names:
        registries.remove_list(name)
