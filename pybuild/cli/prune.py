"""`pybuild prune`."""

from __future__ import annotations

import time

import click

from pybuild import upkeep
from pybuild.measures import read_moment, read_size
from pybuild.progress.text import size


def _before(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> float | None:
    moments = []
    for value in values:
        name, equals, text = value.partition("=")
        if name != "until" or not equals:
            raise click.BadParameter(f"no filter {value!r}; there is until=24h", ctx, parameter)
        try:
            moments.append(read_moment(text, time.time()))
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None
    return min(moments, default=None)


def _bytes(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else read_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


@click.command("prune", short_help="Remove what no tag needs")
@click.option(
    "-a", "--all", "with_all", is_flag=True, help="Also what only saves rebuilds of tagged images work, and cache mounts."
)
@click.option(
    "--filter", "before", multiple=True, metavar="until=24h", callback=_before, help="What was last used before that alone."
)
@click.option(
    "--keep-storage",
    "keep_bytes",
    metavar="SIZE",
    callback=_bytes,
    help="Stop when the cache is this small; the longest unused go first.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would go.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but how much came back.")
@click.option("-f", "--force", is_flag=True, hidden=True, help="Docker's: there is no question to be skipped.")
def command(with_all: bool, before: float | None, keep_bytes: int | None, dry_run: bool, quiet: bool, force: bool) -> None:
    """Remove images without a name, what builds left that no tagged image stands on, and leftovers.

    What a tag keeps never goes: 'pybuild rmi' removes that. While builds are at work their end is waited for.
    """
    done = upkeep.prune(
        with_all=with_all,
        before=before,
        keep_bytes=keep_bytes,
        dry_run=dry_run,
        waiting=lambda: click.echo("waiting for the builds that are at work", err=True),
    )
    if not quiet:
        for line in upkeep.pruned_lines(done):
            click.echo(line)
    click.echo(f"{'would free' if dry_run else 'freed'} {size(done.freed)}")
