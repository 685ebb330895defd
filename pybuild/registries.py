"""The public functions that talk to registries: plain arguments in, values out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pybuild.registry.login import LoggedIn


def login(
    registry: str,
    username: str,
    password: str,
    *,
    insecure: bool = False,
    authfile: str | os.PathLike[str] | None = None,
) -> LoggedIn:
    """Try credentials on a registry, and keep them as docker does when it takes them, for docker and podman too.

    `authfile` is ~/.docker/config.json when None. Raises RegistryError.
    """
    from pybuild.registry.login import login as log_in

    file = Path(authfile) if authfile is not None else None
    return log_in(registry, username, password, environ=os.environ, insecure=insecure, file=file)


def logout(registry: str, *, authfile: str | os.PathLike[str] | None = None) -> bool:
    """Forget the credentials of a registry; False when there were none. Raises RegistryError."""
    from pybuild.registry.login import logout as log_out

    return log_out(registry, environ=os.environ, file=Path(authfile) if authfile is not None else None)
