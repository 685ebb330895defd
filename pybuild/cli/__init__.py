"""The command line: one module for each command. Errors become messages here and nowhere else.

A well-formed `build` does not even import click, whose start costs more than the whole of a build that changes nothing:
`quick` reads it by the same table of options, and leaves everything else, mistakes above all, to click.
"""

from __future__ import annotations

# Whether this process is pybuild's own, and ends with the command.
is_own_process = False


def run(arguments: list[str], *, is_last: bool = False) -> int:
    """Run one command line; its exit code. Nothing but the message of an error reaches the user.

    `is_last` says that the process ends by os._exit when it is done.
    """
    global is_own_process
    from pybuild.cli.errors import guarded, provide_streams

    is_own_process = is_last
    provide_streams()
    return guarded(lambda: _run(arguments, is_last))


def _run(arguments: list[str], is_last: bool) -> object:
    from pybuild.cli.quick import quick_build

    if build := quick_build(arguments):
        if is_last:
            from pybuild.builder import ending

            ending.announce()
        return build()
    from pybuild.cli.commands import main

    return main.main(args=arguments, prog_name="pybuild", standalone_mode=False)
