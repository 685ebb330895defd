"""The image config: how a container starts, which layers it has, and how it came to be.

Source: image-spec, config.md; the fields that only Docker has (Healthcheck, Shell, OnBuild) as in moby's image spec.
"""

from __future__ import annotations

from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields, dump, load
from pybuild.registry.errors import InvalidDocument
from pybuild.registry.model import platform_document
from pybuild.registry.platform import Platform
from pybuild.values import frozen

Pairs = tuple[tuple[str, str], ...]


@frozen
class Healthcheck:
    """How a container is asked whether it is well; times in nanoseconds, 0 is the runtime's default."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@frozen
class History:
    """One instruction that made the image; `empty_layer` when it changed no file."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False


@frozen
class RunConfig:
    """The `config` object: the defaults of a container. None and () are different for commands."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Pairs = ()
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] = ()
    args_escaped: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """`env` as a mapping, in its order."""
        return dict(name.partition("=")[::2] for name in self.env)


@frozen
class ImageConfig:
    """A whole image config. Times are RFC 3339 text, as the spec has them."""

    platform: Platform
    config: RunConfig = RunConfig()
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    created: str | None = None
    author: str | None = None

    @classmethod
    def parse(cls, content: bytes, where: str) -> ImageConfig:
        """Read a config of either kind. Raises InvalidDocument."""
        fields = Fields(load(content, where), where)
        rootfs = Fields(fields.need("rootfs", dict), f"{where}: rootfs")
        platform = Platform(
            fields.get("os", str, "linux") or "linux",
            fields.get("architecture", str, ""),
            fields.text("variant"),
            fields.text("os.version"),
        )
        config = cls(
            platform,
            _read_run_config(Fields(fields.get("config", dict, {}), f"{where}: config")),
            rootfs.digests("diff_ids"),
            tuple(_read_history(item) for item in fields.objects("history")),
            fields.text("created"),
            fields.text("author"),
        )
        filled = sum(not entry.empty_layer for entry in config.history)
        if config.history and filled > len(config.diff_ids):
            raise InvalidDocument(f"{where}: history tells of {filled} layers, there are {len(config.diff_ids)}")
        return config

    def encode(self) -> bytes:
        """The config as JSON; equal values give equal bytes."""
        document: dict[str, object] = {}
        if self.created:
            document["created"] = self.created
        if self.author:
            document["author"] = self.author
        document.update(platform_document(self.platform))
        document["config"] = run_config_document(self.config)
        document["rootfs"] = {"type": "layers", "diff_ids": list(self.diff_ids)}
        document["history"] = [_history_document(entry) for entry in self.history]
        return dump(document)


def run_config_document(config: RunConfig) -> dict[str, object]:
    """The `config` object as JSON spells it: docker's field names, empty ones left out."""
    health = config.healthcheck
    document: dict[str, object] = {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports},
        "Env": list(config.env),
        "Entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "Cmd": None if config.cmd is None else list(config.cmd),
        "Healthcheck": health and _healthcheck_document(health),
        "ArgsEscaped": config.args_escaped,
        "Volumes": {volume: {} for volume in config.volumes},
        "WorkingDir": config.working_dir,
        "OnBuild": list(config.on_build),
        "Labels": dict(sorted(config.labels)),
        "StopSignal": config.stop_signal,
        "Shell": None if config.shell is None else list(config.shell),
    }
    return {name: value for name, value in document.items() if value or (value == [] and name in ("Entrypoint", "Cmd"))}


def _healthcheck_document(health: Healthcheck) -> dict[str, object]:
    document = {
        "Test": list(health.test),
        "Interval": health.interval,
        "Timeout": health.timeout,
        "StartPeriod": health.start_period,
        "StartInterval": health.start_interval,
        "Retries": health.retries,
    }
    return {name: value for name, value in document.items() if value}


def _history_document(entry: History) -> dict[str, object]:
    document = {
        "created": entry.created,
        "created_by": entry.created_by,
        "author": entry.author,
        "comment": entry.comment,
        "empty_layer": entry.empty_layer,
    }
    return {name: value for name, value in document.items() if value}


def _read_run_config(fields: Fields) -> RunConfig:
    def command(name: str) -> tuple[str, ...] | None:
        return fields.texts(name) if fields.get(name, list, None) is not None else None

    health = fields.get("Healthcheck", dict, {})
    return RunConfig(
        user=fields.get("User", str, ""),
        exposed_ports=tuple(fields.get("ExposedPorts", dict, {})),
        env=fields.texts("Env"),
        entrypoint=command("Entrypoint"),
        cmd=command("Cmd"),
        volumes=tuple(fields.get("Volumes", dict, {})),
        working_dir=fields.get("WorkingDir", str, ""),
        labels=fields.pairs("Labels"),
        stop_signal=fields.text("StopSignal"),
        healthcheck=_read_healthcheck(Fields(health, "Healthcheck")) if health else None,
        shell=command("Shell"),
        on_build=fields.texts("OnBuild"),
        args_escaped=fields.get("ArgsEscaped", bool, False),
    )


def _read_healthcheck(fields: Fields) -> Healthcheck:
    return Healthcheck(
        test=fields.texts("Test"),
        interval=fields.get("Interval", int, 0),
        timeout=fields.get("Timeout", int, 0),
        start_period=fields.get("StartPeriod", int, 0),
        start_interval=fields.get("StartInterval", int, 0),
        retries=fields.get("Retries", int, 0),
    )


def _read_history(fields: Fields) -> History:
    return History(
        created=fields.text("created"),
        created_by=fields.text("created_by"),
        author=fields.text("author"),
        comment=fields.text("comment"),
        empty_layer=fields.get("empty_layer", bool, False),
    )
