"""What the fields of a step say, in the words of a Dockerfile: for telling two steps of the history apart. Pure.

Of a mount only what decides the step's key is said: where a cache is, and not which one.
"""

from __future__ import annotations

from shlex import join

from pybuild.builder.records.history import Trace, Value

# How each field is called. One without a word here is called as it is in the IR.
NAMES = {
    "owner": "--chown", "mode": "--chmod", "network": "--network", "security": "--security", "mounts": "--mount",
    "devices": "--device", "excludes": "--exclude", "parents": "--parents", "link": "--link", "unpack": "archives",
    "checksum": "--checksum", "user": "USER", "cwd": "WORKDIR", "path": "WORKDIR", "sources": "sources",
    "destination": "destination", "hostname": "host name", "scripts": "here-document", "files": "here-document",
    "platform": "--platform", "url": "URL", "filename": "file name", "remote": "repository", "subdir": "folder",
    "keeps_git_dir": "--keep-git-dir", "has_submodules": "submodules", "times": "mtime",
}  # fmt: skip
_UNPACK = {None: "unpacked if they are local", False: "copied as they are", True: "unpacked"}


def shown(name: str, value: Value) -> str | None:
    """The value of one field; None when nothing was said."""
    if name == "unpack" and (value is None or isinstance(value, bool)):
        return _UNPACK[value]
    if name == "mounts" and isinstance(value, list):
        return "\n".join(_mount(item) for item in value if isinstance(item, dict)) or None
    return _shown(value) or None


def commands(trace: Trace, old: Trace) -> tuple[str, str]:
    """What two RUNs run, the old one first: what the shell gets, if both give it to the same shell."""
    was, now = _words(old.fields.get("argv")), _words(trace.fields.get("argv"))
    if len(was) == len(now) == 3 and was[:2] == now[:2] and was[1] == "-c":
        return was[2], now[2]
    return join(was), join(now)


def _words(value: Value) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list) else []


def _mount(mount: dict[str, Value]) -> str:
    kind, target, name = mount.get("type"), mount.get("target"), mount.get("id")
    words = [f"type={kind}"]
    if kind in ("secret", "ssh") and name != "default":
        words.append(f"id={name}")
    if kind == "bind":
        origin, source = mount.get("origin"), mount.get("source")
        # The number of a step means nothing to people; that another stage is meant is told as what the step reads from.
        words += [f"from={origin}"] if origin and isinstance(origin, str) else []
        words += [f"source={source}"] if source != "/" else []
    if target is not None and not (kind == "secret" and target == f"/run/secrets/{name}"):
        words.append(f"target={target}")
    mode = mount.get("mode")
    words += [f"mode={mode:04o}"] if isinstance(mode, int) else []
    words += [f"{key}={mount[key]}" for key in ("env", "uid", "gid", "size") if mount.get(key) is not None]
    if kind == "bind":
        words += [] if mount.get("is_read_only") else ["rw"]
    elif kind in ("cache", "tmpfs"):
        words += ["ro"] if mount.get("is_read_only") else []
    return ",".join(words + (["required"] if mount.get("is_required") else []))


def _shown(value: Value) -> str | None:
    if value is None or value == []:
        return None
    if isinstance(value, list):
        return " ".join(_shown(item) or "-" for item in value)
    if isinstance(value, dict) and value.keys() == {"origin", "path"}:
        return (
            f"{value['origin']}:{value['path']}" if value["origin"] and isinstance(value["origin"], str) else str(value["path"])
        )
    if isinstance(value, dict) and value.keys() == {"name", "content"}:
        return str(value["content"]).removesuffix("\n")
    if isinstance(value, dict):
        return ",".join(f"{name}={_shown(item)}" for name, item in value.items() if item not in (None, [], False, ""))
    return str(value).lower() if isinstance(value, bool) else str(value)
