"""The options that all commands share which talk to a registry."""

from __future__ import annotations

from collections.abc import Callable

import click

from pybuild.cli.options import truth
from pybuild.hints import TypeVar

_F = TypeVar("_F", bound=Callable[..., object])


def insecure_option(command: _F) -> _F:
    """`--insecure`, and `--tls-verify=false`, which podman's users look for; the function takes `insecure`."""
    command = click.option(
        "--tls-verify",
        metavar="BOOL",
        expose_value=False,
        callback=_distrust,
        help="--tls-verify=false is --insecure.",
    )(command)
    return click.option(
        "--insecure",
        is_flag=True,
        is_eager=True,
        help="Allow a registry without TLS, or with a certificate that cannot be checked.",
    )(command)


def _distrust(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    try:
        is_verified = truth((value,))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None
    if not is_verified:
        ctx.params["insecure"] = True


timeout_option = click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How long all of it may take; as long as it gets on otherwise.",
)
"""`--timeout`; the function takes `timeout_seconds`."""
