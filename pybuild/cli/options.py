"""The options of `build` as a table, which both click and the quick reader go by, and what is done with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from pybuild.builder.request import Output
from pybuild.builder.sandbox.confinement import ISOLATIONS, NETWORKS
from pybuild.cli import provisions
from pybuild.cli.hindsight import looking_back
from pybuild.progress import MODES, open_progress
from pybuild.values import frozen, natural

# The variable of docker that takes the place of --platform.
PLATFORM = "DOCKER_DEFAULT_PLATFORM"
CALLS = ("build", "check", "outline", "targets")
_OUTPUTS = ("oci", "docker", "tar", "local", "registry", "image")

_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")

Values = tuple[str, ...]
Convert = Callable[[Values], object]


@frozen
class Option:
    """One option: its spellings, the parameter that it sets, and how what is given for it is read.

    `convert` takes all values in order; it raises ValueError for one that makes no sense. None makes it a flag.
    """

    spellings: tuple[str, ...]
    parameter: str
    convert: Convert | None
    help: str
    metavar: str = ""
    default: str | None = None
    is_multiple: bool = False
    choices: tuple[str, ...] = ()
    environment: str | None = None


def last(values: Values) -> str | None:
    """The last value, None when there is none."""
    return values[-1] if values else None


def number(values: Values) -> int | None:
    """The last value as a whole number of at least 0."""
    if not values:
        return None
    found = natural(values[-1])
    if found is None:
        raise ValueError(f"{values[-1]!r} is not a whole number")
    return found


def moment(values: Values) -> int | str | None:
    """The last value as seconds since 1970, or as the name of what has a time."""
    if not values:
        return None
    if (seconds := natural(values[-1])) is not None:
        return seconds
    if not values[-1][:1].isalpha():
        raise ValueError(f"{values[-1]!r} is no time: give seconds since 1970, or a name such as 'context'")
    return values[-1]


def truth(values: Values) -> bool:
    """The last value as true or false, in docker's spellings."""
    text = values[-1].lower()
    if text not in _TRUE and text not in _FALSE:
        raise ValueError(f"{values[-1]!r} is neither true nor false")
    return text in _TRUE


def _jobs(values: Values) -> int:
    count = number(values) or 0
    if count < 1:
        raise ValueError("there has to be one job at least")
    return count


def pairs(values: Values) -> dict[str, str]:
    """`NAME=VALUE`; NAME alone takes the value from the environment, as docker does, and is left out when it has none."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not name:
            raise ValueError(f"{value!r} has no name; write NAME=VALUE")
        if equals:
            found[name] = text
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _contexts(values: Values) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise ValueError(f"{value!r} has no value; write NAME=DIR, NAME=URL or NAME=oci-layout://DIR")
    return pairs(values)


def _outputs(values: Values) -> tuple[Output, ...]:
    return tuple(_output(value) for value in values)


def _output(value: str) -> Output:
    if "=" not in value:
        return Output(value) if value in _OUTPUTS else Output("tar" if value == "-" else "local", value)
    fields = dict(part.partition("=")[::2] for part in value.split(","))
    if "type" not in fields:
        raise ValueError(f"{value!r} has no type; write type=oci,dest=FILE")
    kind, dest = fields.pop("type"), fields.pop("dest", None)
    unknown = [name for name in fields if name not in ("name", "push", "tar")]
    if unknown:
        raise ValueError(f"unknown attribute {unknown[0]!r}; there are type, dest, name, tar and push")
    return Output(kind, dest, tuple(fields.items()))


def _call(values: Values) -> tuple[str, str]:
    """What is asked for, and the format of the answer."""
    call, _, rest = (values[-1] if values else "build").partition(",")
    name, equals, form = rest.partition("=")
    if call not in CALLS or (rest and (name != "format" or not equals or form not in ("text", "json"))):
        raise ValueError(f"{values[-1]!r} is none of {', '.join(CALLS)}, with ,format=json behind it or not")
    return call, form or "text"


BUILD = (
    Option(("-t", "--tag"), "tags", tuple, "A name for the image, NAME[:TAG].", "NAME", is_multiple=True),
    Option(("-f", "--file"), "dockerfile", last, "The Dockerfile, - for standard input; else CONTEXT/Dockerfile.", "FILE"),
    Option(("--build-arg",), "build_args", pairs, "A value for an ARG.", "K=V", is_multiple=True),
    Option(("--label",), "labels", pairs, "A label for the image.", "K=V", is_multiple=True),
    Option(("--target",), "target", last, "The stage to build; else the last.", "STAGE"),
    Option(
        ("--build-context",),
        "build_contexts",
        _contexts,
        "Another context: a folder, a URL, a git repository, docker-image://NAME or oci-layout://DIR[:TAG][@DIGEST].",
        "NAME=DIR",
        is_multiple=True,
    ),
    Option(("--platform",), "platform", last, "What to build for; else this machine.", "OS/ARCH", environment=PLATFORM),
    Option(("--no-cache",), "no_cache", None, "Do every step anew."),
    Option(
        ("--no-cache-filter",),
        "no_cache_filter",
        lambda values: tuple(name.strip() for value in values for name in value.split(",") if name.strip()),
        "Do the steps of this stage anew, and what needs them.",
        "STAGE",
        is_multiple=True,
    ),
    Option(("--pull",), "pull", None, "Ask the registry for base images, even if they are here."),
    Option(("--network",), "network", last, "The network of RUN.", default="default", choices=NETWORKS),
    Option(
        ("--allow",),
        "allow",
        provisions.entitlements,
        "Let RUN have security.insecure or network.host.",
        "ENTITLEMENT",
        is_multiple=True,
    ),
    Option(
        ("--secret",),
        "secrets",
        provisions.secrets,
        "A secret for RUN --mount=type=secret: a file, or a variable with env=.",
        "id=ID,src=FILE",
        is_multiple=True,
    ),
    Option(
        ("--ssh",),
        "ssh",
        provisions.agents,
        "An agent for RUN --mount=type=ssh: default, or ID=SOCKET, or ID=KEY.",
        "ID",
        is_multiple=True,
    ),
    Option(("--add-host",), "add_hosts", provisions.hosts, "A name for RUN's /etc/hosts.", "NAME:ADDRESS", is_multiple=True),
    Option(("--shm-size",), "shm_size", provisions.size, "The size of RUN's /dev/shm; else 64m.", "SIZE"),
    Option(
        ("--ulimit",),
        "ulimits",
        provisions.limits,
        "A limit for RUN, such as nofile=1024:2048.",
        "NAME=SOFT:HARD",
        is_multiple=True,
    ),
    Option(("-m", "--memory"), "memory", provisions.size, "The memory that a RUN may take.", "SIZE"),
    Option(("--cpus",), "cpus", provisions.processors, "The processors' time that a RUN may take.", "N"),
    Option(("--pids-limit",), "pids_limit", provisions.processes, "The processes that a RUN may have.", "N"),
    Option(("--isolation",), "isolation", last, "How RUN is kept apart.", default="auto", choices=ISOLATIONS),
    Option(("--debug-on-error",), "debug_on_error", None, "Open a shell in the file system of a RUN that fails."),
    Option(("--keep-failed",), "keep_failed", None, "Keep the files of a RUN that fails, as an image."),
    Option(("--compression",), "compression", last, "How layers are compressed.", "gzip|zstd|none[:LEVEL]", default="gzip"),
    Option(
        ("-o", "--output"),
        "outputs",
        _outputs,
        "Write the result there too: oci, docker, tar, local or registry.",
        "type=T,dest=PATH",
        is_multiple=True,
    ),
    Option(("--push",), "push", None, "Push the image to the registries of its names."),
    Option(("--insecure",), "insecure", None, "Allow registries without TLS, or with certificates that cannot be checked."),
    Option(("--tls-verify",), "tls_verify", truth, "--tls-verify=false is --insecure.", "BOOL", default="true"),
    Option(
        ("--timestamp",),
        "timestamp",
        moment,
        "Take the place of the clock, for equal digests: seconds, or a context or a stage that has a time.",
        "SECONDS|NAME",
        environment="SOURCE_DATE_EPOCH",
    ),
    Option(
        ("--verify-reproducible",),
        "verify_reproducible",
        None,
        "Build twice from nothing, elsewhere and otherwise; say which files differ.",
    ),
    Option(("-j", "--jobs"), "jobs", _jobs, "Steps at the same time.", "N", default="4"),
    Option(("--check",), "check", None, "Lint the Dockerfile and plan the build, and build nothing."),
    Option(
        ("--call",),
        "call",
        _call,
        "Say what the Dockerfile offers, and build nothing: check, outline or targets.",
        "METHOD[,format=json]",
        default="build",
    ),
    Option(("--iidfile",), "iidfile", last, "Write the image ID to a file.", "FILE"),
    Option(("--metadata-file",), "metadata_file", last, "Write digests and names to a file, as JSON.", "FILE"),
    Option(("--explain",), "explain", None, "Say why each step ran, and whose result it took where it did not run."),
    Option(("--timeline",), "timeline", last, "Write a page that shows what was done when, and what it waited for.", "FILE.html"),
    Option(("-q", "--quiet"), "quiet", None, "Print the image ID alone."),
    Option(
        ("--progress",),
        "progress",
        last,
        "How to show what happens.",
        default="auto",
        choices=MODES,
        environment="BUILDKIT_PROGRESS",
    ),
)


def build_image(
    *,
    context: str,
    outputs: tuple[Output, ...],
    iidfile: str | None,
    metadata_file: str | None,
    quiet: bool,
    progress: str,
    insecure: bool,
    tls_verify: bool,
    check: bool,
    call: tuple[str, str],
    explain: bool,
    timeline: str | None,
    **options: object,
) -> int:
    """Build, and print what the options ask for; the exit code. Raises what `pybuild.build` does."""
    options["insecure"] = insecure or not tls_verify
    if check or call[0] != "build":
        from pybuild.cli.calls import answer

        method, form = ("check", call[1]) if check else call
        return answer(method, form, context=context, **options)
    from pybuild.api import build

    has_receipts = iidfile is not None or metadata_file is not None
    if has_receipts or timeline is not None:
        from pybuild.cli import receipts

        receipts.begin({"--iidfile": iidfile, "--metadata-file": metadata_file, "--timeline": timeline})
    mode = "quiet" if quiet else progress
    display, as_json = open_progress(mode, sys.stderr), mode in ("json", "rawjson")
    with looking_back(display, explain=explain, as_json=as_json, timeline=timeline) as shown:
        result = build(context, outputs=outputs, progress=shown, **options)  # type: ignore[arg-type]
    if has_receipts:
        receipts.write(result, iidfile=iidfile, metadata_file=metadata_file)
    # An archive on standard output has it for itself.
    if quiet and all(output.dest != "-" for output in outputs):
        sys.stdout.write(f"{result.image_id}\n")
    return 0
