"""Random edits in a RUN: the layer over the layers below is what the RUN saw, for umoci too, and the same however RUN is kept apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real.command import COMMAND
from real.ordinary_user import run_as_user

from pybuild.builder.workspace import remove

pytestmark = [pytest.mark.root, pytest.mark.peers("umoci", "gcc", "newuidmap"), pytest.mark.slow]
PROGRAM = Path(__file__).resolve().parents[2] / "fixtures/programs/edits.c"

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda parts: "/".join(("w", *parts)))
MODES = st.sampled_from(["755", "700", "644", "4755", "2750", "1777", "0", "600"])
TEXTS = st.sampled_from(["", "one", "two", "x" * 5000])


def edit(*operands):
    return st.tuples(*(st.just(item) if isinstance(item, str) else item for item in operands)).map("|".join)


MAKING = (
    edit("mkdir", PATHS, MODES),
    edit("mkdir", PATHS, st.just("755")),
    edit("create", PATHS, TEXTS, MODES),
    edit("symlink", PATHS, st.sampled_from(["a", "../b", "/w/c", "nowhere"])),
    edit("fifo", PATHS),
)
CHANGING = (
    edit("append", PATHS, TEXTS),
    edit("poke", PATHS),
    edit("truncate", PATHS, st.sampled_from(["0", "2", "5000"])),
    edit("chmod", PATHS, MODES),
    edit("chown", PATHS, st.sampled_from(["0", "33", "60000"]), st.sampled_from(["0", "42"])),
    edit("rename", PATHS, PATHS),
    edit("unlink", PATHS),
    edit("rmdir", PATHS),
    edit("rmtree", PATHS),
    # Readers in Go take a value of nothing for none: so pax has it.
    edit("xattr", PATHS, st.sampled_from(["user.one", "user.two"]), TEXTS.filter(lambda text: 0 < len(text) < 100)),
    edit("capability", PATHS),
    edit("touch", PATHS, st.sampled_from(["1000", "1500000000"])),
    edit("socket", PATHS),
)
# A directory made anew, a file given to somebody and taken back: what one edit alone seldom comes to.
TOGETHER = (
    PATHS.map(lambda path: (f"rmtree|{path}", f"mkdir|{path}|755")),
    PATHS.map(lambda path: (f"rename|{path}|w/away", f"rename|w/away|{path}")),
    PATHS.map(lambda path: (f"rmtree|{path}", f"create|{path}|new|644")),
    PATHS.map(lambda path: (f"rmtree|{path}", f"mkdir|{path}|700", f"create|{path}/a|new|644")),
)
LINKS = (edit("link", PATHS, PATHS),)


def script(*kinds):
    one = st.one_of(*kinds).map(lambda text: (text,))
    return st.lists(st.one_of(one, one, one, *TOGETHER), max_size=14).map(
        lambda groups: [text for group in groups for text in group]
    )


SCRIPTS = st.tuples(script(*MAKING, *LINKS), script(*MAKING, *CHANGING, *LINKS), script(*MAKING, *CHANGING, *LINKS))
# Overlay separates a file's names when it is written, a copy does not.
SCRIPTS_WITHOUT_LINKS = st.tuples(script(*MAKING), script(*MAKING, *CHANGING))
FEW = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(FEW, max_examples=6)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "edits"
    subprocess.run(["gcc", "-static", "-O1", "-o", path, PROGRAM], check=True)
    return path


@pytest.fixture
def place(program):
    """A folder for one example after another, which an ordinary user gets into."""
    path = Path(tempfile.mkdtemp(prefix="pybuild-edits"))
    path.chmod(0o755)
    yield path
    remove(str(path))


def context(place: Path, program: Path, scripts) -> Path:
    folder = place / "context"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(program, folder / "edits")
    lines = [f"RUN {json.dumps(['/edits', 'mkdir|w|755', *texts, 'show|.'])}" for texts in scripts]
    (folder / "Dockerfile").write_text("\n".join(("FROM scratch", "COPY edits /edits", *lines, "")))
    return folder


def shown(output: str) -> list[str]:
    """What the last RUN has seen; sockets are in no layer."""
    runs: list[list[str]] = []
    for line in output.splitlines():
        number, _, text = line.partition(" ")
        if text.startswith("at w "):
            runs.append([])
        if text.startswith("at ") and number.startswith("#"):
            runs[-1].append(text)
    return [line for line in runs[-1] if int(line.split(" ")[2], 8) >> 12 != 0o14]


def built(root: Path, folder: Path, *options, prefix=()) -> str:
    command = (*prefix, *COMMAND, "--root", root, "build", "--progress", "plain", "-t", "own", *options, folder)
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def identity(said: str) -> str:
    return said.rpartition("built ")[2].split()[1]


def one_more_or_less(image: list[str], seen: list[str]) -> bool:
    """Whether an image has the files that were seen. Overlay gives a file that is opened to be written a name of its own; if nothing
    came of that it is in no layer, and the image's names are one file as before.
    """

    def apart(lines: list[str]) -> tuple[list[list[str]], dict[str, str]]:
        """Everything but which names a file has, and the first of them for each."""
        words = [line.split(" ") for line in lines]
        files = {found[1]: found[7] for found in words if int(found[2], 8) >> 12 == 0o10}
        return [found[:7] + found[8:] if found[1] in files else found for found in words], files

    (rest, first), (rest_seen, first_seen) = apart(image), apart(seen)
    return rest == rest_seen and all(first[name] == first[other] for name, other in first_seen.items())


@SOME
@given(scripts=SCRIPTS)
def test_the_layers_are_what_the_last_run_saw(program, place, scripts):
    folder = context(place, program, scripts)
    store, bundle, again = place / "store", place / "bundle", place / "again"
    for path in (store, bundle, again):
        shutil.rmtree(path, ignore_errors=True)
    seen = shown(built(store, folder))
    done = subprocess.run(
        ["umoci", "unpack", "--image", f"{store}:docker.io/library/own:latest", str(bundle)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    unpacked = subprocess.run([program, f"show|{bundle}/rootfs"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert one_more_or_less(unpacked, seen)
    # And a later RUN sees the same: an overlay of trees that are there already.
    (folder / "Dockerfile").write_text((folder / "Dockerfile").read_text() + 'RUN ["/edits", "show|."]\n')
    assert shown(built(store, folder)) == seen
    # So does one over trees out of blobs.
    (folder / "Dockerfile").write_text('FROM own\nRUN ["/edits", "show|."]\n')
    with open(place / "archive", "wb") as archive:
        subprocess.run([*COMMAND, "--root", str(store), "save", "own"], stdout=archive, check=True)
    subprocess.run([*COMMAND, "--root", str(again), "load", "-i", str(place / "archive")], stdout=subprocess.DEVNULL, check=True)
    assert one_more_or_less(shown(built(again, folder)), seen)


@FEW
@given(scripts=SCRIPTS)
def test_an_ordinary_user_makes_the_layers_that_root_makes(program, place, home, scripts):
    # In a user namespace the kernel takes setuid bits away when a file is written; root of the machine keeps them.
    plain = [[text.replace("4755", "755").replace("2750", "750") for text in texts] for texts in scripts]
    folder = context(place, program, plain)
    expected = identity(built(place / "store", folder, "--timestamp", "1600000000"))
    command = (
        *COMMAND,
        "--root",
        home / "store",
        "build",
        "--progress",
        "plain",
        "-t",
        "own",
        "--timestamp",
        "1600000000",
        folder,
    )
    done = run_as_user(home, *command)
    assert done.returncode == 0, done.stdout
    assert identity(done.stdout) == expected


@FEW
@given(scripts=SCRIPTS_WITHOUT_LINKS)
def test_chroot_and_a_copy_make_the_layers_that_an_overlay_makes(program, place, scripts):
    # A directory from a layer below cannot be renamed in an overlay (EXDEV, and programs copy), and can in a folder.
    first, second = scripts
    folder = context(place, program, (first, [text for text in second if not text.startswith("rename|")]))
    # Not from the records, which have what the other isolation made.
    expected = identity(built(place / "store", folder, "--timestamp", "1600000000", "--no-cache"))
    chrooted = built(place / "store", folder, "--timestamp", "1600000000", "--no-cache", "--isolation", "chroot")
    assert identity(chrooted) == expected
