"""`pybuild serve`: the store's registry on a server. The only module that imports cheroot, which is an optional extra."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pybuild.api import open_store
from pybuild.hints import TYPE_CHECKING
from pybuild.registry.errors import RegistryError
from pybuild.registry.hosting.application import Application

if TYPE_CHECKING:
    from collections.abc import Iterator

# Each client holds one for each layer that it pulls, however slowly: docker three at a time.
_THREADS = 64
_IDLE_SECONDS = 60
# How often the server looks up from waiting, which is how long it may take to stop.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Wish:
    """How to serve: where, whether pushes are taken, who is let in (`user:password`), and with which certificate."""

    host: str = "127.0.0.1"
    port: int = 5555
    writable: bool = False
    password: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether anybody on the network may change what is in the store."""
        return self.writable and self.password is None and not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def serving(
    wish: Wish, *, root: str | os.PathLike[str] | None = None, log: Callable[[str], None] | None = None
) -> Iterator[tuple[str, Callable[[], None]]]:
    """A server that listens: its address, and what serves until the block is left. Raises RegistryError."""
    try:
        from cheroot.ssl.builtin import BuiltinSSLAdapter
        from cheroot.wsgi import Server
    except ImportError as error:
        raise RegistryError("pybuild serve needs cheroot", hint="pip install 'pybuild[serve]'") from error
    application = Application(open_store(root), writable=wish.writable, password=wish.password, log=log)
    server = Server((wish.host, wish.port), application, numthreads=_THREADS, server_name="pybuild", timeout=_IDLE_SECONDS)
    server.expiration_interval = _LOOK_SECONDS
    server.error_log = _silent  # type: ignore[method-assign,assignment]
    try:
        if wish.certificate is not None:
            server.ssl_adapter = BuiltinSSLAdapter(wish.certificate, wish.key or wish.certificate)
        server.prepare()
    except OSError as error:
        raise RegistryError(
            f"cannot listen on {wish.host}:{wish.port}: {_reason(error)}", hint="choose another with --host or --port"
        ) from error
    with ExitStack() as resources:
        resources.callback(server.stop)
        host, port = server.bind_addr[:2]
        yield (f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"), server.serve


def _reason(error: OSError) -> str:
    # cheroot writes what each address had to say into one text.
    said = re.search(r"\[Errno -?\d+\] ([^)]+)", str(error))
    return said[1] if said and error.errno is None else error.strerror or str(error)


def _silent(message: str = "", level: int = 20, traceback: bool = False) -> None:
    """A client that hangs up is no news; what is wrong with us is."""
    if level >= 40 and traceback:
        import traceback as traces

        sys.stderr.write(f"error: {message}\n{traces.format_exc() if os.environ.get('PYBUILD_DEBUG') else ''}")
