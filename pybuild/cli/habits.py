"""What people type out of habit, from docker, buildx, buildah, podman and skopeo, and what does it here."""

from __future__ import annotations

_ATTESTATIONS = "pybuild makes no attestations: leave it out"
_CACHE = "the cache is the store: keep the folder of $PYBUILD_ROOT from one build to the next"
_CONTAINERS = "'pybuild run' runs an image in the foreground, and nothing is left of it"
_CPUS = "--cpus N limits the processors' time"
_CREDENTIALS = "'pybuild login REGISTRY' keeps them, and those of docker and podman are found"
_EMPTY = "leave it out: it is so anyway"
_INSECURE = "--allow security.insecure lets a RUN have it that says --security=insecure"
_PLATFORM = "--platform OS/ARCH says it"
_SQUASH = "the commands of one RUN, in a here-document for instance, make one layer"
_TLS = "--insecure, or --tls-verify=false, is for both"
_VOLUMES = "nothing of this machine can be mounted: COPY it into the image"

# By command; what stands under "" is for all of them.
OPTIONS = {
    "": {
        "--root": "it stands before the command: pybuild --root DIR ...",
        "--creds": _CREDENTIALS,
        "--authfile": "$REGISTRY_AUTH_FILE names the file",
        "--cert-dir": "certificates are looked for in certs.d: docs/registries.md",
        "--retry": "what breaks off is tried again anyway",
        "--retry-delay": "what breaks off is tried again anyway",
        "--disable-content-trust": _EMPTY,
    },
    "build": {
        "--all-platforms": "build for one --platform after the other; 'pybuild manifest create' makes them one",
        "--annotation": "--label says it of the image; 'pybuild manifest annotate' of an image in a list",
        "--arch": _PLATFORM,
        "--attest": _ATTESTATIONS,
        "--builder": "there is none to choose: pybuild builds by itself",
        "--cache-from": _CACHE,
        "--cache-to": _CACHE,
        "--cap-add": _INSECURE,
        "--compress": "a context is not sent anywhere; --compression is for layers",
        "--cpu-period": _CPUS,
        "--cpu-quota": _CPUS,
        "--cpu-shares": _CPUS,
        "--cpuset-cpus": _CPUS,
        "-c": _CPUS,
        "--dockerfile": "-f FILE names it",
        "--env": "--build-arg gives a value to an ARG, and ENV keeps it",
        "--force-rm": _EMPTY,
        "--format": "images are OCI's; -o type=docker,dest=FILE writes an archive for docker",
        "--from": "--build-context IMAGE=docker-image://OTHER puts another image in a base's place",
        "--ignorefile": "an ignore file is NAME.dockerignore, beside the Dockerfile NAME",
        "--layers": "they are always kept; --no-cache does every step anew",
        "--load": "the image is in pybuild's store; 'pybuild save NAME | docker load' gives it to docker",
        "--logfile": "--progress plain 2> FILE",
        "--manifest": "'pybuild manifest create NAME IMAGE...' makes one of images",
        "--memory-swap": "--memory limits what a RUN may take",
        "--os": _PLATFORM,
        "--print": "--call=outline and --call=targets say what can be given and built",
        "--privileged": _INSECURE,
        "--provenance": _ATTESTATIONS,
        "--rm": _EMPTY,
        "--sbom": _ATTESTATIONS,
        "--security-opt": _INSECURE,
        "--skip-unused-stages": _EMPTY,
        "--squash": _SQUASH,
        "--squash-all": _SQUASH,
        "--variant": _PLATFORM,
        "--volume": "RUN --mount=type=bind,from=NAME with --build-context NAME=DIR, or RUN --mount=type=cache",
        "-v": "RUN --mount=type=bind,from=NAME with --build-context NAME=DIR, or RUN --mount=type=cache",
    },
    "copy": {
        "--all": "all platforms are copied unless --platform names one",
        "-a": "all platforms are copied unless --platform names one",
        "--src-creds": _CREDENTIALS,
        "--dest-creds": _CREDENTIALS,
        "--src-tls-verify": _TLS,
        "--dest-tls-verify": _TLS,
    },
    "images": {"--all": "all images are listed anyway", "-a": "all images are listed anyway"},
    "prune": {"--force": "nothing is asked: leave it out", "-f": "nothing is asked: leave it out"},
    "run": {
        "--detach": "it is in the foreground; end the line with & to go on",
        "-d": "it is in the foreground; end the line with & to go on",
        "--env-file": "-e K=V says it, as often as it is needed",
        "--mount": _VOLUMES,
        "--name": _CONTAINERS,
        "--publish": "the container has this machine's network: its ports are here as they are",
        "-p": "the container has this machine's network: its ports are here as they are",
        "--volume": _VOLUMES,
        "-v": _VOLUMES,
    },
    "save": {"--format": "what is written is for docker and for tools that read OCI archives"},
}

# By what stands in the command's place, after the group that it is looked for in: commands, or a sentence.
COMMANDS = {
    "attach": _CONTAINERS,
    "bud": "pybuild build",
    "build-using-dockerfile": "pybuild build",
    "builder": "pybuild build, pybuild prune",
    "buildx": "pybuild build, pybuild system df, pybuild prune",
    "check": "pybuild lint, pybuild build --check",
    "container": _CONTAINERS,
    "create": _CONTAINERS,
    "debug": "pybuild build --debug-on-error",
    "df": "pybuild system df",
    "exec": _CONTAINERS,
    "explain": "pybuild why",
    "export": "pybuild save, pybuild build -o type=tar,dest=FILE",
    "gc": "pybuild prune",
    "help": "pybuild --help, pybuild COMMAND --help",
    "image": "pybuild images, pybuild inspect, pybuild rmi",
    "import": "pybuild load",
    "info": "pybuild doctor",
    "list": "pybuild images",
    "logs": _CONTAINERS,
    "ls": "pybuild images",
    "outline": "pybuild build --call=outline",
    "ps": _CONTAINERS,
    "registry": "pybuild serve",
    "remove": "pybuild rmi",
    "rm": "pybuild rmi",
    "start": _CONTAINERS,
    "stop": _CONTAINERS,
    "system prune": "pybuild prune",
    "targets": "pybuild build --call=targets",
    "untag": "pybuild rmi",
    "verify": "pybuild store verify",
    "version": "pybuild --version",
}


def option_hint(command: str, option: str) -> str | None:
    """What does here what the option of a command does elsewhere; None when nothing is known of it."""
    return OPTIONS.get(command, {}).get(option) or OPTIONS[""].get(option)


def command_hint(command: str) -> str | None:
    """What to write in place of a command that is not there; None when nothing is known of it."""
    found = COMMANDS.get(command)
    if found is None or not found.startswith("pybuild"):
        return found
    return " or ".join(f"'{text}'" for text in found.split(", "))
