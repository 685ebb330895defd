"""Git repositories as the git program makes them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIME = 1_500_000_000


def git(*arguments: str, cwd: Path) -> str:
    """What git says."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": f"@{TIME} +0000",
        "GIT_COMMITTER_DATE": f"@{TIME} +0000",
        "GIT_AUTHOR_NAME": "somebody",
        "GIT_AUTHOR_EMAIL": "s@example.org",
        "GIT_COMMITTER_NAME": "somebody",
        "GIT_COMMITTER_EMAIL": "s@example.org",
    }
    return subprocess.run(["git", *arguments], cwd=cwd, env=environ, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class Repository:
    """A bare repository `r.git` in `folder`, and the one that it was made from, `work`.

    On `main`: f (two), l -> f, sub/deep/s, x.sh; on `other` also o. `v1` is a tag of the commit before, in which f is `one`; `v2` an
    annotated one of the same.
    """

    folder: Path
    work: Path

    @classmethod
    def made(cls, folder: Path) -> Repository:
        """A new one in an empty folder."""
        work = folder.with_name(f"{folder.name}-work")
        (work / "sub/deep").mkdir(parents=True)
        (work / "f").write_text("one\n")
        (work / "sub/deep/s").write_text("s\n")
        (work / "l").symlink_to("f")
        (work / "x.sh").write_text("#!/bin/sh\n")
        (work / "x.sh").chmod(0o755)
        git("init", "-q", "-b", "main", cwd=work)
        git("add", ".", cwd=work)
        git("commit", "-qm", "one", cwd=work)
        git("tag", "v1", cwd=work)
        git("tag", "-a", "v2", "-m", "two", cwd=work)
        (work / "f").write_text("two\n")
        git("commit", "-qam", "two", cwd=work)
        git("checkout", "-qb", "other", cwd=work)
        (work / "o").write_text("o\n")
        git("add", ".", cwd=work)
        git("commit", "-qm", "other", cwd=work)
        git("checkout", "-q", "main", cwd=work)
        git("clone", "-q", "--bare", str(work), str(folder / "r.git"), cwd=folder)
        return cls(folder, work)

    def commit(self, ref: str) -> str:
        """The commit of a ref."""
        return git("rev-parse", f"{ref}^{{commit}}", cwd=self.folder / "r.git")

    def push(self, text: str) -> str:
        """One more commit on main, with f as given; its name."""
        (self.work / "f").write_text(text)
        git("commit", "-qam", text, cwd=self.work)
        git("push", "-q", str(self.folder / "r.git"), "main", cwd=self.work)
        return self.commit("main")
