"""`pybuild login`. A password comes from a prompt or from standard input: arguments are seen by every process."""

from __future__ import annotations

import sys

import click

from pybuild import registries
from pybuild.cli.completion import FILE
from pybuild.cli.registry_options import insecure_option
from pybuild.registry.reference import HUB


def _refuse(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError("a password on the command line is seen by every process: give it to --password-stdin")


@click.command("login", short_help="Log in to a registry")
@click.argument("registry", default=HUB)
@click.option("-u", "--username", metavar="USER", help="Else asked for.")
@click.option("--password-stdin", is_flag=True, help="Take the password, or an access token, from standard input.")
@click.option("-p", "--password", hidden=True, expose_value=False, callback=_refuse)
@click.option("--authfile", type=FILE, metavar="FILE", help="Keep it there, in place of ~/.docker/config.json.")
@insecure_option
def command(registry: str, username: str | None, password_stdin: bool, authfile: str | None, insecure: bool) -> None:
    """Log in to REGISTRY (Docker Hub when there is none), for pybuild, docker and podman alike."""
    if password_stdin:
        if username is None:
            raise click.UsageError("--password-stdin needs --username")
        # What `echo` and a file's last line put behind it is not meant.
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    else:
        if not sys.stdin.isatty():
            raise click.UsageError("no terminal to ask for the password: give it to --password-stdin, and the user as --username")
        username = username or click.prompt("Username", err=True)
        password = click.prompt("Password", hide_input=True, err=True)
    done = registries.login(registry, str(username), password, authfile=authfile, insecure=insecure)
    if not done.is_encrypted:
        click.echo(f"warning: {done.kept_in} holds the password unencrypted; a credential helper would not", err=True)
    click.echo("Login Succeeded")
