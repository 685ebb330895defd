"""Errors as a user reads them: what failed, where, what to do next, and the exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

import click


def guarded(action: Callable[[], object]) -> int:
    """Call `action`; its exit code, with errors told on standard error."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = action()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        tell("interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _known(error)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _known(error: Exception) -> int:
    from pybuild.builder.errors import BuildError, StepFailed
    from pybuild.grammar.errors import DockerfileError
    from pybuild.registry.errors import RegistryError

    if isinstance(error, BuildError | DockerfileError | RegistryError):
        if isinstance(error, StepFailed) and error.output:
            click.echo(f"{error.output}\n", err=True)
        tell(str(error), error.hint)
        return error.exit_code
    if isinstance(error, OSError):
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        tell(f"{where}{error.strerror or error}")
        return 1
    if os.environ.get("PYBUILD_DEBUG"):
        raise error
    tell(f"a mistake in pybuild: {type(error).__name__}: {error}", "please report it; PYBUILD_DEBUG=1 shows where")
    return 1


def tell(message: str, hint: str | None = None) -> None:
    """An error on standard error; its first part is red on a terminal."""
    click.echo(click.style("error: ", fg="red") + message, err=True)
    if hint:
        click.echo(click.style("hint: ", fg="yellow") + hint, err=True)
