"""`pybuild doctor`."""

from __future__ import annotations

import json

import click

NO_RUN = "no RUN"
_SIGNS = {"works": "ok", "less": "--", "fails": "NO"}
_COLOURS = {"works": "green", "less": "yellow", "fails": "red"}


@click.command("doctor", short_help="Say what works here, and what mends the rest")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to show it."
)
def command(form: str) -> int:
    """Try what RUN and the store need of this place; say what works, what doesn't, and the one command that mends it.

    The exit code is 0 when RUN works somehow.
    """
    from pybuild import api

    report = api.doctor()
    if form == "json":
        document = {
            "level": report.level,
            "levels": dict(report.levels),
            "checks": [
                {"name": check.name, "state": check.state, "said": check.said, "mend": check.mend} for check in report.checks
            ],
        }
        click.echo(json.dumps(document, indent=4))
    else:
        width = max(len(check.name) for check in report.checks)
        for check in report.checks:
            sign = click.style(_SIGNS[check.state], fg=_COLOURS[check.state])
            click.echo(f"{sign}  {check.name:{width}}  {check.said}")
            if check.mend is not None:
                click.echo(f"    {'':{width}}  mend: {check.mend}")
        levels = (f"{level} {'yes' if is_there else 'no'}" for level, is_there in report.levels.items() if level != NO_RUN)
        click.echo(f"\nlevels: {', '.join(levels)}")
        click.echo(f"RUN uses: {report.level}" if report.level != NO_RUN else "RUN does not work here; what has none builds")
    return 1 if report.level == NO_RUN else 0
