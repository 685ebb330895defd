"""Why steps ran: golden folders of contexts, built one after the other; what is said of the last build is compared.

`fixtures/explanations/NAME/1`, `2` ... are contexts, `options.json` in one of them how it is built (`prune` first, `fails`).
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
from pathlib import Path

import pytest

import pybuild as api
from pybuild.builder.records.explaining import BASE, OPTION, REMOTE, Change, explain, matched
from pybuild.builder.records.history import CANCELED, FAILED, HIT, RAN, Build, History, Outcome, Read, Trace
from pybuild.builder.workspace import Workspace
from pybuild.cli import run
from pybuild.explained import build_lines, builds_document, explanation_document, explanation_lines, named
from pybuild.past import builds, explanation
from pybuild.values import replace

CASES = Path(__file__).resolve().parents[3] / "fixtures" / "explanations"
LATER = 7200


def ended(build: Build | None) -> Build | None:
    """A build that took no time."""
    if build is None:
        return None
    return replace(build, seconds=0.0, outcomes={number: replace(item, seconds=0.0) for number, item in build.outcomes.items()})


def told(root: Path, **options) -> str:
    found = explanation(root=root)
    steps = tuple(replace(step, outcome=replace(step.outcome, seconds=0.0), saved_seconds=0.0) for step in found.steps)
    return "\n".join(explanation_lines(replace(found, steps=steps), now=found.build.moment + LATER, **options)) + "\n"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_golden(case, tmp_path, busybox, golden):
    root = tmp_path / "store"
    for state in sorted(path for path in (CASES / case).iterdir() if path.is_dir()):
        folder = tmp_path / "context"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(state, folder, symlinks=True)
        for path in folder.rglob("*"):
            # git keeps no mode but x, and the umask may have taken others away.
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        shutil.copy(busybox, folder / "busybox")
        file = folder / "options.json"
        options = json.loads(file.read_text()) if file.exists() else {}
        file.unlink(missing_ok=True)
        if options.pop("prune", False):
            api.prune(with_all=True, root=root)
        if options.pop("fails", False):
            with pytest.raises(api.BuildError):
                api.build(folder, root=root, **options)
        else:
            api.build(folder, tags=["app"], root=root, **options)
    golden(CASES / case / "explanation.txt", told(root))


def trace(number: int, name: str, *, kind="RunStep", below=None, key=None, stage="", reads=(), origins=(), **fields) -> Trace:
    read = tuple(Read(*item) for item in reads)
    return Trace(number, stage, f"{number + 1}/9", kind, name, key or f"k{name}", below, origins, (), fields, read)


def build(number: int, *traces: Trace, **outcomes) -> Build:
    states = {item.number: Outcome(outcomes.get(f"s{item.number}", RAN)) for item in traces}
    return Build(number, 1000.0, 1.0, "/Dockerfile", "", ("app",), "sha256:" + "a" * 64, {}, states, traces)


def explained(new: Build, old: Build | None):
    return explain(new, old, listing=lambda digest: None, maker=lambda key: None)


def test_another_base_is_told_by_its_digests():
    old = build(1, trace(0, "FROM debian", kind="SourceStep", key="1", image="debian", digest="sha256:old"), s0=HIT)
    new = build(2, trace(0, "FROM debian", kind="SourceStep", key="2", image="debian", digest="sha256:new"), s0=HIT)
    found = explained(new, old)
    [change] = found.steps[0].changes
    assert (change.about, change.name, change.old, change.new) == (BASE, "debian", "sha256:old", "sha256:new")
    assert explanation_lines(found, now=1000.0)[3:] == [
        "BASE   [1/9] FROM debian",
        "           debian is another image:",
        "             - sha256:old",
        "             + sha256:new",
    ]


def test_steps_are_matched_by_what_they_say_and_then_by_where_they_stand():
    old = (trace(0, "a"), trace(1, "b"), trace(2, "c"), trace(3, "d"))
    new = (trace(0, "a"), trace(1, "new"), trace(2, "b"), trace(3, "c2"), trace(4, "d"))
    assert {number: item.name for number, item in matched(new, old).items()} == {0: "a", 2: "b", 3: "c", 4: "d"}


def test_a_copy_is_not_taken_for_a_run():
    old, new = (trace(0, "RUN x"),), (trace(0, "COPY x", kind="CopyStep"),)
    assert matched(new, old) == {}


def test_what_hits_have_saved_is_said():
    steps = (trace(0, "FROM a", kind="SourceStep"), trace(1, "RUN a", below=0), trace(2, "RUN b", below=1))
    outcomes = {0: Outcome(HIT), 1: Outcome(RAN, 2.5), 2: Outcome(RAN, 1.0)}
    first = Build(1, 0.0, 4.0, "Dockerfile", "", (), "sha256:1", {}, outcomes, steps)
    second = replace(first, number=2, moment=5.0, outcomes={0: Outcome(HIT), 1: Outcome(HIT), 2: Outcome(RAN, 1.0)})
    found = explain(second, first, listing=lambda digest: None, maker=lambda key: first)
    assert [step.saved_seconds for step in found.steps] == [0.0, 2.5, 0.0]
    assert explanation_lines(found, now=6.0)[0] == "build #2 ran 1 of 2 steps; hits saved 2.5s"
    assert explanation_document(found)["steps"][1]["saved_seconds"] == 2.5


def test_thousands_of_steps_are_explained_at_once():
    def steps(key):
        return tuple(
            trace(n, f"RUN {n}", kind="RunStep" if n else "SourceStep", below=n - 1 if n else None, key=key) for n in range(4000)
        )

    old, new, third = (
        build(1, *steps("1")),
        build(2, *steps("2")),
        build(3, *steps("2"), **{f"s{n}": HIT for n in range(2, 4000)}),
    )
    started = time.monotonic()
    changes = explained(new, old).steps[-1].changes
    assert [change.name for change in changes] == ["[1/9]"]
    found = explain(third, new, listing=lambda digest: None, maker=lambda key: new)
    assert found.steps[-1].has_new_inputs and explanation_lines(found, now=0.0)
    # A walk down from each step takes ten times as long.
    assert time.monotonic() - started < 2.5


def test_another_format_of_keys_is_said():
    old, new = build(1, trace(0, "a", key="1", argv=["x"])), build(2, trace(0, "a", key="2", argv=["x"]))
    assert explained(new, old).steps[0].reason == "other keys"


def test_control_characters_do_not_reach_the_terminal():
    old = build(1, trace(0, "RUN x", key="1", argv=["sh", "-c", "a\x1b[31m"]))
    new = build(2, trace(0, "RUN \x1b[2J", key="2", argv=["sh", "-c", "b\x07"]))
    assert not any("\x1b" in line or "\x07" in line for line in explanation_lines(explained(new, old), now=0))
    assert any("\x1b[32m" in line for line in explanation_lines(explained(new, old), now=0, colour=True))


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a").write_text("a")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /a\nCOPY a /b\n")
    return folder


def test_one_step_is_found_by_its_place_or_its_words(context, tmp_path):
    root = tmp_path / "store"
    api.build(context, root=root)
    (context / "a").write_text("bb")
    api.build(context, root=root)
    for only in ("2", "2/3", "[2/3]", "copy a /a"):
        assert told(root, only=only).splitlines() == [
            "RAN    [2/3] COPY a /a", "           1 file changed:", "             ~ a  1B → 2B",
        ]  # fmt: skip
    assert told(root, only="nothing") == "\n"


def test_a_place_comes_before_words_that_have_its_number(context, tmp_path):
    (context / "Dockerfile").write_text("FROM scratch AS one\nCOPY a /1\nCOPY a /2\nFROM one\nCOPY a /2\nCOPY a /one\n")
    api.build(context, root=tmp_path / "store")

    def found(only):
        return [step.trace.name for step in named(explanation(root=tmp_path / "store"), only)]

    assert found("2") == found("one 2") + found("stage-1 2") == ["COPY a /1", "COPY a /one"]
    assert found("ONE") == ["FROM scratch AS one", "COPY a /1", "COPY a /2"]
    assert found("[stage-1 1/2]") == ["COPY a /2"]
    assert found("/one") == ["COPY a /one"] and not found("three")


def test_one_step_of_a_first_build_says_so(context, tmp_path):
    api.build(context, root=tmp_path / "store")
    assert told(tmp_path / "store", only="2/3").splitlines()[1:] == ["           this is the first build of this Dockerfile here"]


def test_a_base_and_a_step_that_was_not_begun_are_told_too(context, tmp_path):
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /a/\nCOPY a /a/a/b/\nCOPY a /b\n")
    with pytest.raises(api.BuildError):
        api.build(context, root=tmp_path / "store")
    assert told(tmp_path / "store", only="1") == "BASE   [1/4] FROM scratch\n           its image is scratch\n"
    assert told(tmp_path / "store", only="4").splitlines()[1:] == [
        "           it was not begun, for the build had failed or was interrupted"
    ]


def files_told(context, root, change):
    """What is said of the files when something else is done to the context."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    api.build(context, root=root)
    change()
    api.build(context, root=root)
    return told(root, only="2").splitlines()[1:]


def test_attributes_of_files_are_told(context, tmp_path):
    def change():
        os.setxattr(context / "a", "user.colour", b"red")

    assert files_told(context, tmp_path / "store", change) == [
        "           1 file changed:", "             ~ a  attribute user.colour: not set → red",
    ]  # fmt: skip


def test_a_second_name_of_a_file_is_told(context, tmp_path):
    def change():
        (context / "b").unlink()
        (context / "b").write_text("a")

    (context / "b").hardlink_to(context / "a")
    assert files_told(context, tmp_path / "store", change) == [
        "           1 file changed:", "             ~ b  is a file of its own now, not a",
    ]  # fmt: skip


def test_the_folder_itself_is_told(context, tmp_path):
    assert files_told(context, tmp_path / "store", lambda: context.chmod(0o700)) == [
        "           1 file changed:", "             ~ .  mode 755 → 700",
    ]  # fmt: skip


def test_a_name_outside_of_what_is_copied_changes_nothing(context, tmp_path):
    api.build(context, root=tmp_path / "store")
    (tmp_path / "elsewhere").hardlink_to(context / "a")
    api.build(context, root=tmp_path / "store")
    assert all(outcome.state == HIT for outcome in explanation(root=tmp_path / "store").build.outcomes.values())


def test_a_file_that_is_fetched_and_is_here_is_not_said_to_be_lost():
    fetch = trace(1, "fetch http://x/f", kind="HttpStep", reads=(("fetch http://x/f", "1"),))
    old = build(1, trace(0, "FROM a", kind="SourceStep"), fetch, trace(2, "ADD http://x/f /f", kind="CopyStep", origins=(1,)))
    new = replace(old, number=2)
    assert explained(new, old).steps[1].reason == "taken again"


def test_what_is_fetched_from_another_place_is_compared():
    one = trace(0, "fetch http://x/f", kind="HttpStep", key="1", url="http://x/f", reads=(("fetch http://x/f", "1"),))
    two = trace(0, "fetch http://x/g", kind="HttpStep", key="2", url="http://x/g", reads=(("fetch http://x/g", "2"),))
    changes = explained(build(2, two), build(1, one)).steps[0].changes
    assert changes == (Change(OPTION, "URL", "http://x/f", "http://x/g"), Change(REMOTE, "content", "1", "2"))


def test_a_build_that_did_not_end_says_so_first():
    base, step = trace(0, "FROM a", kind="SourceStep"), trace(1, "RUN x", below=0)
    ended = replace(build(1, base, step, s0=HIT, s1=CANCELED), image=None)
    assert explanation_lines(explained(ended, None), now=0.0)[0] == "build #1 of app was interrupted; it ran none of 1 step"
    unpushed = replace(build(1, base, step, s0=HIT, s1=HIT), image=None)
    assert explanation_lines(explained(unpushed, None), now=0.0)[0].startswith("build #1 of app failed; it ran no step")
    assert (
        explanation_lines(explained(build(1, base, s0=HIT), None), now=0.0)[0] == "build #1 of app has no step that changes files"
    )


def test_an_explanation_among_events_is_one_of_them(context, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYBUILD_ROOT", str(tmp_path / "store"))
    assert run(["build", "--progress", "json", "--explain", str(context)]) == 0
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (events[-1]["event"], events[-1]["build"], len(events[-1]["steps"])) == ("Explained", 1, 3)


def test_another_target_is_said_and_another_name_of_the_base():
    old = build(1, trace(0, "FROM $A", kind="SourceStep", key="1", image="a", digest="sha256:1"))
    new = build(2, trace(0, "FROM $A", kind="SourceStep", key="2", image="b", digest="sha256:2"))
    lines = explanation_lines(explained(replace(new, target="t"), old), now=0.0)
    assert lines[1].endswith(", of the last stage and not the stage t")
    assert [line.strip() for line in lines[4:]] == ["it is from another image:", "- a@sha256:1", "+ b@sha256:2"]
    same = build(3, trace(0, "FROM $A", kind="SourceStep", key="1", image="b", digest="sha256:1"))
    assert explained(same, old).steps[0].changes == ()


def test_what_a_program_reads(context, tmp_path):
    root = tmp_path / "store"
    api.build(context, tags=["x"], root=root)
    (context / "a").write_text("bb")
    api.build(context, tags=["x"], root=root)
    document = json.loads(json.dumps(explanation_document(explanation(root=root))))
    assert (document["build"], document["compared_with"], document["tags"]) == (2, 1, ["x:latest"])
    step = document["steps"][1]
    assert (step["place"], step["state"], step["made_by"]) == ("[2/3]", RAN, None)
    assert step["changes"][0]["about"] == "file" and step["changes"][0]["name"] == "a"
    assert [item["place"] for item in explanation_document(explanation(root=root), only="3")["steps"]] == ["[3/3]"]
    assert [item["build"] for item in builds_document(builds(root=root))] == [2, 1]


def test_history_holds_a_plan_and_a_list_of_files_once(context, tmp_path):
    root = tmp_path / "store"
    for _ in range(3):
        api.build(context, tags=["x"], root=root)
    with Workspace.open(root) as workspace:
        count = workspace.database.connection.execute
        assert [count(f"select count(*) from {table}").fetchone()[0] for table in ("builds", "outlines", "listings")] == [3, 1, 1]
        history = History(workspace.database)
        assert [item.number for item in history.recent(2)] == [3, 2]
        assert history.build(1) is not None and history.build(9) is None
        lines = build_lines(history.recent(9), now=0)
        assert len(lines) == 4 and lines[0].split() == ["BUILD", "WHEN", "TOOK", "RAN", "IMAGE", "NAMES", "DOCKERFILE"]


def test_old_builds_are_forgotten_with_all_that_only_they_had(context, tmp_path, monkeypatch):
    import pybuild.builder.records.history as history

    monkeypatch.setattr(history, "_KEPT", 1)
    monkeypatch.setattr(history, "_BETWEEN_CLEANUPS", 2)
    root = tmp_path / "store"
    for number in range(4):
        (context / "a").write_text(str(number))
        api.build(context, root=root)
    with Workspace.open(root) as workspace:
        count = workspace.database.connection.execute
        assert [row[0] for row in count("select number from builds")] == [3, 4]
        assert [count(f"select count(*) from {table}").fetchone()[0] for table in ("outlines", "listings")] == [2, 2]


def test_a_failed_build_is_in_the_history(context, tmp_path):
    root = tmp_path / "store"
    (context / "Dockerfile").write_text("FROM scratch\nCOPY a /a\nADD a.tar /b\n")
    with tarfile.open(context / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("../../x"))
    with pytest.raises(api.BuildError):
        api.build(context, root=root)
    found = explanation(root=root)
    assert found.build.image is None and found.build.outcomes[2].state == FAILED


def test_there_is_no_such_build(tmp_path):
    with pytest.raises(api.BuildError, match="nothing was built here yet"):
        explanation(root=tmp_path / "store")
    with pytest.raises(api.BuildError, match="there is no build #7 in the history"):
        explanation(7, root=tmp_path / "store")
