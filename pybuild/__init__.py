"""pybuild builds container images from Dockerfiles; this is its Python API, and the command line uses the same calls.

    import pybuild

    result = pybuild.build(".", tags=["cncamp/httpserver:v1.0"])
    pybuild.push("cncamp/httpserver:v1.0")

Every function takes `root`, the folder of the store; None is $PYBUILD_ROOT, or the default place. Errors are
`BuildError`, `DockerfileError` and `RegistryError`; each has `message`, `hint` and `exit_code`.
"""

from __future__ import annotations

from pybuild.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from pybuild.api import build, doctor, history, images, inspect, load, remove, run, save, tag
    from pybuild.builder.errors import BuildError
    from pybuild.builder.request import BuildResult, Limit, Output, SecretSource
    from pybuild.grammar.errors import DockerfileError
    from pybuild.linting import lint
    from pybuild.past import builds, explanation
    from pybuild.plans import plan
    from pybuild.registries import (
        annotate_list,
        copy,
        create_list,
        delete,
        login,
        logout,
        manifest,
        pull,
        push,
        push_list,
        referrers,
        remove_list,
        tags,
    )
    from pybuild.registry.errors import RegistryError
    from pybuild.upkeep import disk_usage, prune, verify

__version__ = "0.1.0"
__all__ = [
    "BuildError",
    "BuildResult",
    "DockerfileError",
    "Limit",
    "Output",
    "RegistryError",
    "SecretSource",
    "annotate_list",
    "build",
    "builds",
    "copy",
    "create_list",
    "delete",
    "disk_usage",
    "doctor",
    "explanation",
    "history",
    "images",
    "inspect",
    "lint",
    "load",
    "login",
    "logout",
    "manifest",
    "plan",
    "prune",
    "pull",
    "push",
    "push_list",
    "referrers",
    "remove",
    "remove_list",
    "run",
    "save",
    "tag",
    "tags",
    "verify",
]

# Where each public name lives: imported when it is first asked for, since start-up time counts.
_PLACES = {
    "BuildError": "pybuild.builder.errors",
    "BuildResult": "pybuild.builder.request",
    "Limit": "pybuild.builder.request",
    "SecretSource": "pybuild.builder.request",
    "DockerfileError": "pybuild.grammar.errors",
    "Output": "pybuild.builder.request",
    "RegistryError": "pybuild.registry.errors",
    "annotate_list": "pybuild.registries",
    "builds": "pybuild.past",
    "copy": "pybuild.registries",
    "create_list": "pybuild.registries",
    "delete": "pybuild.registries",
    "disk_usage": "pybuild.upkeep",
    "explanation": "pybuild.past",
    "lint": "pybuild.linting",
    "login": "pybuild.registries",
    "logout": "pybuild.registries",
    "manifest": "pybuild.registries",
    "plan": "pybuild.plans",
    "prune": "pybuild.upkeep",
    "pull": "pybuild.registries",
    "push": "pybuild.registries",
    "push_list": "pybuild.registries",
    "referrers": "pybuild.registries",
    "remove_list": "pybuild.registries",
    "tags": "pybuild.registries",
    "verify": "pybuild.upkeep",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'pybuild' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_PLACES.get(name, "pybuild.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
