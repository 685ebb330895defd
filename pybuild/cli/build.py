"""`pybuild build`: the flags of docker's, into a BuildRequest."""

from __future__ import annotations

import os
import sys

import click

from pybuild.api import build
from pybuild.builder.request import Output
from pybuild.progress import MODES, open_progress

_SHORTHANDS = ("oci", "docker", "tar", "local", "registry", "image")


def _pairs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name:
            raise click.BadParameter(f"{value!r} has no name; write NAME=VALUE", ctx, parameter)
        if not equals:
            # As docker: the value comes from the environment, and an unset one is not passed at all.
            if parameter.name == "build_contexts":
                raise click.BadParameter(f"{value!r} has no value; write NAME=DIR or NAME=oci-layout://DIR", ctx, parameter)
            if name not in os.environ:
                continue
            text = os.environ[name]
        found[name] = text
    return found


def _outputs(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Output, ...]:
    return tuple(_output(ctx, parameter, value) for value in values)


def _output(ctx: click.Context, parameter: click.Parameter, value: str) -> Output:
    if "=" not in value:
        return Output(value) if value in _SHORTHANDS else Output("tar" if value == "-" else "local", value)
    fields = dict(part.partition("=")[::2] for part in value.split(","))
    if "type" not in fields:
        raise click.BadParameter(f"{value!r} has no type; write type=oci,dest=FILE", ctx, parameter)
    kind, dest = fields.pop("type"), fields.pop("dest", None)
    unknown = [name for name in fields if name not in ("name", "push", "tar")]
    if unknown:
        raise click.BadParameter(f"unknown attribute {unknown[0]!r}; there are type, dest, name, tar and push", ctx, parameter)
    return Output(kind, dest, tuple(fields.items()))


@click.command("build", short_help="Build an image from a Dockerfile")
@click.argument("context")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="A name for the image, NAME[:TAG].")
@click.option("-f", "--file", "dockerfile", metavar="FILE", help="The Dockerfile; else CONTEXT/Dockerfile.")
@click.option("--build-arg", "build_args", multiple=True, metavar="K=V", callback=_pairs, help="A value for an ARG.")
@click.option("--label", "labels", multiple=True, metavar="K=V", callback=_pairs, help="A label for the image.")
@click.option("--target", metavar="STAGE", help="The stage to build; else the last.")
@click.option(
    "--build-context",
    "build_contexts",
    multiple=True,
    metavar="NAME=DIR",
    callback=_pairs,
    help="Another context: a folder, or oci-layout://DIR[:TAG] in place of an image.",
)
@click.option("--platform", metavar="OS/ARCH", help="What to build for; else this machine.")
@click.option("--no-cache", is_flag=True, help="Do every step anew.")
@click.option("--pull", is_flag=True, help="Ask the registry for base images, even if they are here.")
@click.option(
    "--network", type=click.Choice(["default", "host", "none"]), default="default", show_default=True, help="The network of RUN."
)
@click.option(
    "--compression", default="gzip", show_default=True, metavar="gzip|zstd|none[:LEVEL]", help="How layers are compressed."
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="type=T,dest=PATH",
    callback=_outputs,
    help="Write the result there too: oci, docker, tar, local or registry.",
)
@click.option("--push", is_flag=True, help="Push the image to the registries of its names.")
@click.option("--insecure", is_flag=True, help="Allow registries without TLS, or with certificates that cannot be checked.")
@click.option(
    "--timestamp", type=int, metavar="SECONDS", envvar="SOURCE_DATE_EPOCH", help="Take the place of the clock, for equal digests."
)
@click.option("-j", "--jobs", type=click.IntRange(1), default=4, show_default=True, help="Steps at the same time.")
@click.option("--iidfile", metavar="FILE", help="Write the image ID to a file.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image ID alone.")
@click.option("--progress", type=click.Choice(MODES), default="auto", show_default=True, help="How to show what happens.")
def command(context: str, iidfile: str | None, quiet: bool, progress: str, **options: object) -> None:
    """Build an image from the Dockerfile in CONTEXT."""
    if quiet:
        progress = "quiet"
    result = build(context, progress=open_progress(progress, sys.stderr), **options)  # type: ignore[arg-type]
    if iidfile is not None:
        with open(iidfile, "w", encoding="ascii") as file:
            file.write(result.image_id)
    if quiet:
        click.echo(result.image_id)
