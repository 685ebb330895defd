"""Errors as a user reads them: what failed, where, what to do next, and the exit code."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import sys
from collections.abc import Callable
from types import FrameType

_RED, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[0m"
_NO_PROCESS = "the limit of processes is reached ('ulimit -u', or that of a container), or that of memory ('ulimit -v')"


def provide_streams() -> None:
    """Put the null device where the shell gave us no standard stream (`>&-`): a file of ours must not take its number.

    One that does not wait (O_NONBLOCK, which node gives what it starts) is opened anew: what we write faster than somebody
    reads would be lost.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            if not os.get_blocking(number):
                _have_wait(number)
        except OSError:
            # The lowest number that is free is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # What its encoding has no sign for (PYTHONIOENCODING, names of files) is shown as Python has it on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")


def _have_wait(number: int) -> None:
    """Have a standard stream wait for the other side, without a change to what we share with whoever gave it to us."""
    try:
        # Waiting would begin here, for somebody to write.
        access = fcntl.fcntl(number, fcntl.F_GETFL) & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
        fresh = os.open(f"/proc/self/fd/{number}", access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        # A socket, or another user's pipe.
        os.set_blocking(number, True)
        return
    os.set_blocking(fresh, True)
    os.dup2(fresh, number)
    os.close(fresh)


def guarded(action: Callable[[], object]) -> int:
    """Call `action`; its exit code, with errors told on standard error."""
    try:
        result = action()
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        tell("interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        code = _of_click(error)
        return _known(error) if code is None else code


def interrupt_once() -> None:
    """Make the first SIGINT or SIGTERM a KeyboardInterrupt. Later ones do nothing: they would disturb the cleaning up.

    One that whoever started us has set to be ignored stays so, as for a job in the background.
    """
    is_interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal is_interrupted
        if not is_interrupted:
            is_interrupted = True
            raise KeyboardInterrupt

    from pybuild.lean import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    # But this one: nobody would hear how git or ssh-agent has ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _of_click(error: Exception) -> int | None:
    """The exit code of one of click's own errors, which is told; None for any other."""
    click = sys.modules.get("click")
    if click is None:
        return None
    if isinstance(error, click.exceptions.Exit):
        return int(error.exit_code)
    if isinstance(error, click.Abort):
        tell("interrupted")
        return 130
    if isinstance(error, click.ClickException):
        from pybuild.cli.misuse import told

        if type(error).__name__ == "NoArgsIsHelpError":
            # Of click 8.2 and later: the help is the message.
            error.show()
        else:
            tell(*told(error))
        return int(error.exit_code)
    return None


def _known(error: Exception) -> int:
    from pybuild.builder.errors import BuildError, StepFailed
    from pybuild.grammar.errors import DockerfileError
    from pybuild.registry.errors import RegistryError

    if isinstance(error, BuildError | DockerfileError | RegistryError):
        if isinstance(error, StepFailed) and error.output:
            from pybuild.builder.output import harmless

            shown = "\n".join(map(harmless, error.output.split("\n")))
            sys.stderr.write(f"{shown}\n\n")
        tell(str(error), error.hint)
        others = () if isinstance(error, RegistryError) else error.others
        for other in others:
            tell(str(other), getattr(other, "hint", None))
        if others:
            sys.stderr.write(f"{len(others) + 1} errors\n")
        return error.exit_code
    from pybuild.lean import sqlite3

    if isinstance(error, sqlite3.DatabaseError):
        from pybuild.builder.upkeep.reserve import ADVICE

        hint = "'pybuild store verify --repair' keeps what is sound of it"
        if isinstance(error, sqlite3.OperationalError):
            hint = ADVICE if "full" in str(error) else "is the disk full, or the folder not yours?"
        tell(f"the store's pybuild.db: {error}", hint)
        return 1
    if isinstance(error, OSError):
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        tell(f"{where}{error.strerror or error}", _advice(error))
        return 1
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        tell("cannot start a thread", _NO_PROCESS)
        return 1
    if os.environ.get("PYBUILD_DEBUG"):
        raise error
    tell(f"a mistake in pybuild: {type(error).__name__}: {error}", "please report it; PYBUILD_DEBUG=1 shows where")
    return 1


def _advice(error: OSError) -> str | None:
    from pybuild.builder.upkeep.reserve import ADVICE
    from pybuild.builder.workspace import place_of

    is_in_store = str(error.filename).startswith(f"{place_of(None, os.environ)}/")
    if is_in_store and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "the store cannot be written to: set PYBUILD_ROOT, or --root, to a folder of yours"
    if error.errno == errno.ENOENT and error.filename is None:
        return "the folder that you are in may be gone: cd to where it was"
    return {errno.ENOSPC: ADVICE, errno.EDQUOT: ADVICE, errno.EAGAIN: _NO_PROCESS}.get(error.errno or 0)


def tell(message: str, hint: str | None = None) -> None:
    """An error on standard error, without any secret; on a terminal its first word and its marks are coloured."""
    from pybuild.colours import has_colour
    from pybuild.grammar.source import shown as harmless
    from pybuild.registry.redaction import redacted

    is_coloured = has_colour(sys.stderr)
    parts = [("error: ", _RED, message)] + ([("hint: ", _YELLOW, hint)] if hint else [])
    for head, colour, text in parts:
        # Names of files are in it, which may be anything.
        hidden = redacted(text)
        shown, rest = head, harmless(hidden, most=len(hidden))
        if is_coloured:
            import re

            # The line under a line of a Dockerfile.
            rest = re.sub(r"^( +)(~+)$", rf"\1{colour}\2{_PLAIN}", rest, flags=re.MULTILINE)
            shown = f"{colour}{head}{_PLAIN}"
        # Where there is no room for words, or nobody to read them, the exit code is all that tells.
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{shown}{rest}\n".encode("utf-8", "backslashreplace").decode())
            sys.stderr.flush()
