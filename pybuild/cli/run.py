"""`pybuild run`."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from pybuild import api
from pybuild.cli.completion import IMAGE
from pybuild.cli.provisions import hosts, limits, size


def _read(convert: Callable[[tuple[str, ...]], object]) -> Callable[..., object]:
    """What click does with the values of an option."""

    def read(ctx: click.Context, parameter: click.Parameter, value: str | tuple[str, ...] | None) -> object:
        try:
            return convert(value if isinstance(value, tuple) else () if value is None else (value,))
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return read


@click.command("run", short_help="Run an image in the foreground", context_settings={"allow_interspersed_args": False})
@click.argument("image", type=IMAGE)
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
@click.option("-i", "--interactive", is_flag=True, help="Standard input is the container's; it is so with and without.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal of its own, if ours is one.")
@click.option(
    "--add-host", "add_hosts", multiple=True, metavar="NAME:ADDRESS", help="A name for /etc/hosts.", callback=_read(hosts)
)
@click.option("--shm-size", metavar="SIZE", help="The size of /dev/shm; else 64m.", callback=_read(size))
@click.option(
    "--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT:HARD", help="A limit, such as nofile=1024.", callback=_read(limits)
)
def command(image: str, arguments: tuple[str, ...], rm: bool, interactive: bool, env: tuple[str, ...], **options: object) -> int:
    """Run IMAGE in the foreground: its output, its signals and its exit code are passed on."""
    given = {}
    for item in env:
        name, equals, value = item.partition("=")
        if equals or name in os.environ:
            given[name] = value if equals else os.environ[name]
    return api.run(image, arguments, env=given, **options)  # type: ignore[arg-type]
