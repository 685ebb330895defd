"""Commands as an ordinary user of this machine, who need not exist: one with a range of ids, or one with none.

In a mount namespace of its own, so that nothing of the machine is changed: there /etc/passwd, subuid and subgid are ours, and folders
on the way to Python and to this checkout that only root may enter are open.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

UID = 4321
NAME = "pybuildtester"
_NEEDED = (sys.executable, os.path.realpath(sys.executable), os.__file__, str(Path(__file__).resolve()))
_SCRIPT = """
set -e
t={folder}/.machine
mkdir -p $t && mount -t tmpfs tmpfs $t && chmod 755 $t
for name in passwd group subuid subgid; do cat /etc/$name > $t/$name 2>/dev/null || : > $t/$name; done
echo {name}:x:{uid}:{uid}::{folder}:/bin/sh >> $t/passwd
echo {name}:x:{uid}: >> $t/group
{ranges}
for name in passwd group subuid subgid; do [ -e /etc/$name ] && mount --bind $t/$name /etc/$name; done
for closed in {closed}; do
    mkdir -p $t$closed/u $t$closed/w && chmod 755 $t$closed/u
    mount -t overlay overlay -o lowerdir=$closed,upperdir=$t$closed/u,workdir=$t$closed/w $closed
done
{extra}
cd {folder}
exec setpriv --reuid {uid} --regid {uid} --clear-groups {privileges} env -i PATH="$PATH" HOME={folder} PYTHONDONTWRITEBYTECODE=1 "$@"
"""


def as_user(
    folder: Path,
    *command: object,
    has_range: bool = True,
    extra: str = "",
    privileges: str = "--inh-caps=-all",
) -> list[str]:
    """The command line that runs `command` as the user, whose home `folder` is. `extra` is shell, by root, before."""
    ranges = f'for name in subuid subgid; do echo {NAME}:700000:65536 >> "$t/$name"; done' if has_range else ""
    script = _SCRIPT.format(
        folder=shlex.quote(str(folder)),
        name=NAME,
        uid=UID,
        ranges=ranges,
        closed=" ".join(map(shlex.quote, _closed())),
        extra=extra,
        privileges=privileges,
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *map(str, command)]


def run_as_user(folder: Path, *command: object, typed: str = "", **values: object) -> subprocess.CompletedProcess[str]:
    """Run it, with `typed` on standard input; standard output and standard error together."""
    done = as_user(folder, *command, **values)
    return subprocess.run(done, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, input=typed)


def _closed() -> list[str]:
    """Folders on the way to what is needed that others may not enter, the outermost first."""
    found = {
        str(parent) for needed in _NEEDED for parent in Path(os.path.abspath(needed)).parents if not parent.stat().st_mode & 0o001
    }
    return sorted(found)
