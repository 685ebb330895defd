"""`pybuild serve`."""

from __future__ import annotations

import contextlib
import sys

import click

from pybuild.cli.completion import FILE
from pybuild.progress.text import printable
from pybuild.serving import Wish, is_loopback, serving

_HELP = """Serve the store as a registry, until Ctrl-C: docker, podman, skopeo and containerd pull from it.

What pybuild calls team/app:v1 is HOST:PORT/team/app:v1 there. Nothing can be changed without --writable, and only this
machine is let in without --host."""


@click.command("serve", short_help="Serve the store as a registry", help=_HELP)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; 0.0.0.0 is all of this machine's.",
)
@click.option(
    "--port", metavar="PORT", type=click.IntRange(0, 65535), default=5555, show_default=True, help="0 takes any that is free."
)
@click.option("--writable", is_flag=True, help="Take pushes, and deletions of tags.")
@click.option("--user", metavar="USER", help="Let in only this user, with the password of --password-stdin.")
@click.option("--password-stdin", is_flag=True, help="Take the user's password from standard input.")
@click.option("--tls-cert", type=FILE, metavar="FILE", help="Speak TLS with this certificate.")
@click.option("--tls-key", type=FILE, metavar="FILE", help="Its key, when it is not in the same file.")
@click.option("-q", "--quiet", is_flag=True, help="Do not tell of requests.")
def command(
    host: str,
    port: int,
    writable: bool,
    user: str | None,
    password_stdin: bool,
    tls_cert: str | None,
    tls_key: str | None,
    quiet: bool,
) -> None:
    if (user is None) != (not password_stdin):
        raise click.UsageError("--user and --password-stdin belong together")
    if tls_key is not None and tls_cert is None:
        raise click.UsageError("--tls-key needs --tls-cert")
    password = f"{user}:{sys.stdin.read().removesuffix(chr(10))}" if user is not None else None
    wish = Wish(host, port, writable, password, tls_cert, tls_key)
    if wish.is_open:
        click.echo("warning: anybody who reaches this port may change what is in the store: see --user", err=True)
    with serving(wish, log=None if quiet else _tell) as (address, serve):
        scheme = "https" if tls_cert else "http"
        click.echo(f"serving the store at {scheme}://{address}, {'writable' if writable else 'read-only'}", err=True)
        if not is_loopback(host) and not tls_cert:
            click.echo("hint: others need --insecure, or this address among docker's insecure-registries", err=True)
        # Ctrl-C is how it ends.
        with contextlib.suppress(KeyboardInterrupt):
            serve()


def _tell(line: str) -> None:
    # What a client asks for is in it.
    click.echo(printable(line), err=True)
