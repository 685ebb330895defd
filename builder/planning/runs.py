"""RUN to its step: the command line, its here-documents, its flags. Pure."""

from __future__ import annotations

from pybuild.builder.graph import File, RunStep
from pybuild.builder.planning import mounts
from pybuild.builder.planning.arguments import HOSTNAME, proxies
from pybuild.builder.planning.handlers import commanded, title
from pybuild.builder.planning.scope import Scope, State
from pybuild.grammar.heredocs import heredoc_name
from pybuild.grammar.instructions import Command, Run
from pybuild.values import replace

_PIPES = "/dev/pipes"


def run(scope: Scope, state: State, instruction: Run, resolve: mounts.Resolve) -> RunStep:
    """The step of a RUN. `resolve` knows what a mount's from= names. Raises PlanError and DockerfileError."""
    if not instruction.command.words:
        raise scope.wrong("RUN without a command", instruction.span, "write RUN COMMAND")
    command, scripts = _with_heredocs(instruction)
    argv = commanded(state, command)
    said = [f"{name}={state.variables.get(name, '')}" for name in state.arguments]
    prefix = [f"|{len(said)}", *said] if said else []
    return RunStep(
        name=_named(instruction),
        span=instruction.span,
        parent=state.last,
        argv=argv,
        env=state.environment,
        proxies=proxies(scope.options),
        cwd=state.config.working_dir or "/",
        user=state.config.user,
        created_by="RUN " + " ".join((*prefix, *argv)),
        network=mounts.mode(scope, state, instruction, "network", mounts.NETWORKS, scope.options.network),
        mounts=mounts.mounts(scope, state, instruction, resolve),
        security=mounts.mode(scope, state, instruction, "security", mounts.SECURITIES, "sandbox"),
        scripts=scripts,
        devices=mounts.devices(scope, instruction),
        hostname=scope.build_args.get(HOSTNAME, ""),
    )


def _with_heredocs(instruction: Run) -> tuple[Command, tuple[File, ...]]:
    """The command, with the here-documents that are its input, or with the one that is the command itself.

    Nothing in them is expanded here: what a shell reads, it expands itself. Source: BuildKit, dispatchRun.
    """
    command, heredocs = instruction.command, instruction.heredocs
    if not heredocs:
        return command, ()
    text = command.words[0]
    if heredoc_name(text) is None:
        bodies = (f"\n{heredoc.raw}{heredoc.name}" for heredoc in heredocs)
        return replace(command, words=(text + "".join(bodies),)), ()
    script = heredocs[0].content
    if not script.startswith("#!"):
        return replace(command, words=(script,)), ()
    file = File(heredocs[0].name, script)
    return replace(command, words=(f"{_PIPES}/{file.name}",)), (file,)


def _named(instruction: Run) -> str:
    """The instruction on one line, with the first line of a script, which says more than `<<EOF`."""
    if not (instruction.heredocs and instruction.command.words and heredoc_name(instruction.command.words[0])):
        return title(instruction)
    first, *others = instruction.heredocs[0].content.strip().split("\n")
    return f"{title(instruction)} ({first.strip()}{'...' if others else ''})"
