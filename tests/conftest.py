"""What all tests share: the package from a checkout, golden files, and real parts that are started when they are asked for."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

try:
    import pybuild.builder
except ImportError:
    # A checkout that is not installed: the folders beside pybuild/ are its packages.
    sys.path.insert(0, str(ROOT))
    import pybuild

    pybuild.__path__.append(str(ROOT))

sys.path.insert(0, str(ROOT / "tests"))

from checker import check_layout  # noqa: E402
from real.foreign import TAG, busybox_layout, run  # noqa: E402
from real.registries import Registry, running_registry  # noqa: E402
from real.repositories import Repository  # noqa: E402
from real.web import running_site  # noqa: E402

from pybuild.builder.workspace import Workspace  # noqa: E402
from pybuild.registry import Store  # noqa: E402

# What is started some thousand times is not compiled each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: what tests start would ignore Ctrl-C too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no fault of what is tested.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

PEERS = ("docker-registry", "skopeo", "umoci", "runc", "podman", "dockerd")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what comes out as what is expected")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root, for namespaces and mounts"))
        peers = item.get_closest_marker("peers")
        wanted = (peers.args or PEERS) if peers else ()
        if missing := [name for name in wanted if shutil.which(name) is None]:
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)} from Debian; 'make test' as root installs them"))


def pytest_collection_finish() -> None:
    # Thousands of tests stay to the end; looking through them for garbage again and again is a sixth of the time.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_places(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
):
    """No test reads or writes the user's store or configuration; what is in a store afterwards keeps the image-spec's rules."""
    home = tmp_path_factory.mktemp("home")
    for name, value in (("PYBUILD_ROOT", home / "store"), ("DOCKER_CONFIG", home / "docker"), ("XDG_DATA_HOME", home / "data")):
        monkeypatch.setenv(name, str(value))
    for name in ("SOURCE_DATE_EPOCH", "DOCKER_DEFAULT_PLATFORM", "BUILDKIT_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    yield
    if request.node.get_closest_marker("damaged") is None:
        for folder in (home / "store", *tmp_path.glob("*")):
            if (folder / "oci-layout").exists() and (folder / "locks").is_dir():
                check_layout(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.open(tmp_path / "store")


@pytest.fixture
def workspace(tmp_path: Path):
    """An empty workspace."""
    with Workspace.open(tmp_path / "store") as found:
        yield found


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory):
    """A real registry, without authentication."""
    with running_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="session")
def htpasswd_registry(tmp_path_factory: pytest.TempPathFactory):
    """A real registry that wants the user `alice` with the password `secret`."""
    with running_registry(tmp_path_factory.mktemp("htpasswd"), users=True) as found:
        yield found


@pytest.fixture(scope="session")
def foreign_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout that umoci made; its image `busybox` has a shell and /etc/passwd."""
    return busybox_layout(tmp_path_factory.mktemp("foreign") / "layout")


@pytest.fixture(scope="session")
def foreign_base(foreign_layout: Path, registry: Registry) -> str:
    """The name of the image of `foreign_layout` in the registry, where skopeo put it."""
    name = registry.name("library/busybox:latest")
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{foreign_layout}:{TAG}", f"docker://{name}")
    return name


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A git repository with two branches and tags."""
    return Repository.made(tmp_path_factory.mktemp("repositories"))


@pytest.fixture
def site(repository: Repository):
    """A web site that serves the repository below `/git/r.git`."""
    with running_site(repository.folder) as found:
        yield found


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """Compare a text with the file that holds what is expected; `--update-golden` writes it."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.write_bytes(text.encode())
        assert path.exists(), f"{path} is missing: run pytest --update-golden, and read the diff"
        # Not as text: line ends count.
        assert text == path.read_bytes().decode()

    return check


@pytest.fixture(scope="session")
def busybox() -> Path:
    """The static busybox, which is all that an image needs to have a shell."""
    path = shutil.which("busybox")
    assert path, "busybox-static is missing; 'make test' as root installs it"
    return Path(path)


__all__ = ["Registry"]
