"""`pybuild lint`."""

from __future__ import annotations

import difflib
import os
import sys

import click

from pybuild.builder.errors import BuildError
from pybuild.builder.lint import BY_NAME, RULES, Settings
from pybuild.builder.workspace import place_of
from pybuild.cli.completion import FILE
from pybuild.cli.errors import tell
from pybuild.cli.options import PLATFORM, pairs
from pybuild.colours import has_colour
from pybuild.grammar import DockerfileError
from pybuild.linting import STANDARD_INPUT, Linted, Request, lint_file, write
from pybuild.reports import FORMATS, Broken, Checked, Result, as_text

FOUND, WRONG = 1, 2


def _rules(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> frozenset[str]:
    names = frozenset(name.strip() for value in values for name in value.split(",") if name.strip())
    for name in sorted(names - {"all", *BY_NAME}):
        from difflib import get_close_matches

        close = get_close_matches(name, BY_NAME, 1)
        hint = f"did you mean {close[0]}?" if close else "'pybuild lint --rules' lists them"
        raise click.BadParameter(f"no rule is called {name!r}; {hint}", ctx, parameter)
    return names


def _list(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        width = max(len(rule.name) for rule in RULES)
        for rule in RULES:
            notes = [text for text, holds in (("--fix", rule.is_mended), ("experimental", rule.is_experimental)) if holds]
            click.echo(f"{rule.name:{width}}  {rule.summary}{f' ({chr(44).join(notes)})' if notes else ''}")
        ctx.exit()


@click.command("lint", short_help="Find what is legal in a Dockerfile and better avoided")
@click.argument("paths", nargs=-1, type=FILE, metavar="[PATH]...")
@click.option("-f", "--file", "dockerfile", type=FILE, metavar="FILE", help="The Dockerfile; then PATH is the context.")
@click.option("--format", "form", type=click.Choice(tuple(FORMATS)), default="text", help="How to show what is found.")
@click.option("--fix", is_flag=True, help="Mend what can be mended without a change of meaning.")
@click.option("--diff", is_flag=True, help="Show what --fix would change.")
@click.option("--skip", multiple=True, metavar="RULES", callback=_rules, help="Rules to leave out, or all.")
@click.option("--experimental", multiple=True, metavar="RULES", callback=_rules, help="Experimental rules to take in, or all.")
@click.option("--error", is_flag=True, help="Call findings errors, not warnings.")
@click.option("--build-arg", "arguments", multiple=True, metavar="K=V", help="A value for an ARG.")
@click.option("--target", metavar="STAGE", help="Look at this stage and what it needs; else at all.")
@click.option("--platform", envvar=PLATFORM, metavar="OS/ARCH", help="What the file would be built for; else this machine.")
@click.option("--rules", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List all rules.")
def command(
    paths: tuple[str, ...],
    dockerfile: str | None,
    form: str,
    fix: bool,
    diff: bool,
    skip: frozenset[str],
    experimental: frozenset[str],
    error: bool,
    arguments: tuple[str, ...],
    target: str | None,
    platform: str | None,
) -> int:
    """Check Dockerfiles against the rules of BuildKit's linter.

    PATH is a Dockerfile, a folder that has one, or - for standard input; without any it is this folder. The exit code is 0 when
    nothing is found, 1 when something is, and 2 when a file cannot be read.
    """
    from pybuild.registry.platform import Platform

    if dockerfile is not None and len(paths) > 1:
        raise click.UsageError("-f names one Dockerfile, so there is one PATH at most: its context")
    files = (dockerfile,) if dockerfile is not None else paths or (".",)
    if fix and STANDARD_INPUT in files:
        raise click.UsageError("--fix needs a file; with --diff, standard input is left as it is")
    try:
        given = tuple(pairs(arguments).items())
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None
    results: list[Result] = []
    changes: list[str] = []
    for path in files:
        request = Request(
            path,
            context=paths[0] if dockerfile is not None and paths else None,
            platform=Platform.parse(platform) if platform else None,
            build_args=given,
            target=target,
            extra=Settings(skip, experimental, error),
            root=place_of(None, os.environ),
        )
        try:
            linted = lint_file(request)
            if fix and not diff and linted.is_changed:
                write(linted, path)
                linted = lint_file(request)
        except (DockerfileError, BuildError) as wrong:
            results += [
                _broken(path, error) for error in (wrong, *wrong.others) if isinstance(error, DockerfileError | BuildError)
            ]
            continue
        results.append(Checked(linted.source, linted.report, linted.count))
        changes += _difference(linted)
    if diff:
        sys.stdout.writelines(changes)
        return _code(results) or (FOUND if changes else 0)
    _show(results, form)
    return _code(results)


def _broken(path: str, error: DockerfileError | BuildError) -> Broken:
    return Broken(error.source.name if error.source else path, error.message, str(error), error.span, error.hint)


def _show(results: list[Result], form: str) -> None:
    if form == "text":
        sys.stdout.write(_printable(as_text(results, has_colour=has_colour(sys.stdout))))
    else:
        sys.stdout.write(_printable(FORMATS[form](results)))
    sys.stdout.flush()
    for item in results:
        if isinstance(item, Broken):
            tell(item.shown, item.hint)
        elif form == "text" and item.report.unknown:
            images = ", ".join(item.report.unknown)
            sys.stderr.write(
                f"note: {item.source.name}: undefined variables were not looked for in stages on {images}, which the store "
                "does not have; pull them, or use 'pybuild build --check'\n"
            )


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _difference(linted: Linted) -> list[str]:
    name = linted.source.name
    before, after = (content.decode("utf-8", "backslashreplace") for content in (linted.content, linted.mended))
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, name)
    return [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]


def _code(results: list[Result]) -> int:
    if any(isinstance(item, Broken) for item in results):
        return WRONG
    return FOUND if any(isinstance(item, Checked) and item.report.findings for item in results) else 0
