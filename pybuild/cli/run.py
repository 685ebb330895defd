"""`pybuild run`."""

from __future__ import annotations

import os

import click

from pybuild import api


@click.command("run", short_help="Run an image in the foreground", context_settings={"allow_interspersed_args": False})
@click.argument("image")
@click.argument("arguments", nargs=-1, metavar="[COMMAND [ARG...]]")
@click.option("--rm", is_flag=True, help="Keep nothing of the container; it is so with and without.")
@click.option("-e", "--env", "env", multiple=True, metavar="K=V", help="A variable for the container; K alone takes ours.")
@click.option(
    "--network", type=click.Choice(["host", "none"]), default="host", show_default=True, help="The container's network."
)
@click.option("--entrypoint", metavar="PROGRAM", help="In place of the image's ENTRYPOINT.")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="In place of the image's USER.")
@click.option("-w", "--workdir", metavar="DIR", help="In place of the image's WORKDIR.")
@click.option("--hostname", metavar="NAME", help="The container's host name.")
def command(image: str, arguments: tuple[str, ...], rm: bool, env: tuple[str, ...], **options: str | None) -> int:
    """Run IMAGE in the foreground: its output, its signals and its exit code are passed on."""
    given = {}
    for item in env:
        name, equals, value = item.partition("=")
        if equals or name in os.environ:
            given[name] = value if equals else os.environ[name]
    return api.run(image, arguments, env=given, **options)  # type: ignore[arg-type]
