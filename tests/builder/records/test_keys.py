"""The format of cache keys is a promise to every store there is: a change has to be meant."""

from pybuild.builder.graph import (
    BuildGraph,
    CopySource,
    CopyStep,
    File,
    MetaStep,
    Mount,
    PlannedStage,
    RunStep,
    SourceStep,
    WorkdirStep,
)
from pybuild.builder.records.keys import history_keys, step_keys
from pybuild.grammar import Span
from pybuild.registry import ImageConfig, Platform
from pybuild.values import replace

SPAN = Span(1, 1, 1, 2)
SOURCE = SourceStep("FROM scratch", SPAN, "scratch", None)
COPY = CopyStep("COPY a /b", SPAN, 0, (CopySource("", "a"),), "/b", "COPY a /b")
META = MetaStep("ENV A=1", SPAN, 1, "ENV A=1")
RUN = RunStep("RUN x", SPAN, 2, ("/bin/sh", "-c", "x"), (("A", "1"), ("PATH", "/bin")), (), "/", "", "RUN /bin/sh -c x")
WORKDIR = WorkdirStep("WORKDIR /w", SPAN, 3, "/w", "", "WORKDIR /w")
PLATFORM = Platform("linux", "amd64")


def graph(*steps):
    return BuildGraph(tuple(steps), (PlannedStage("0", len(steps) - 1, ImageConfig(PLATFORM)),))


def keys(*steps, content="content", timestamp=None):
    return step_keys(graph(*steps), lambda step, origin: content, timestamp=timestamp)


def test_keys_are_golden():
    assert [key[:16] for key in keys(SOURCE, COPY, META, RUN, WORKDIR)] == GOLDEN


GOLDEN = ["0efa39f4685b5e0c", "7c2ec4762e8601ac", "7c2ec4762e8601ac", "591898b7906845dd", "fdf63cc2d8eff4a7"]


def test_a_step_that_changes_no_file_has_the_key_below():
    found = keys(SOURCE, COPY, META)
    assert found[2] == found[1]


def test_content_changes_the_key_of_a_copy_and_of_what_stands_on_it():
    first, second = keys(SOURCE, COPY, META, RUN), keys(SOURCE, COPY, META, RUN, content="other")
    assert first[0] == second[0]
    assert not set(first[1:]) & set(second[1:])


def test_order_of_the_environment_does_not_count_and_proxies_do_not():
    turned = replace(RUN, env=tuple(reversed(RUN.env)), proxies=(("HTTP_PROXY", "http://x"),))
    assert keys(SOURCE, COPY, META, RUN) == keys(SOURCE, COPY, META, turned)


def test_each_part_of_a_step_counts():
    plain = keys(SOURCE, COPY, META, RUN)[3]
    changes = ({"argv": ("y",)}, {"env": (("A", "2"),)}, {"cwd": "/x"}, {"user": "1"}, {"network": "none"})
    others = {keys(SOURCE, COPY, META, replace(RUN, **change))[3] for change in changes}
    assert len(others | {plain}) == len(changes) + 1
    plain = keys(SOURCE, COPY)[1]
    changes = (
        {"sources": (CopySource("", "b"),)},
        {"sources": (CopySource(0, "a"),)},
        {"sources": (CopySource("", "a"), CopySource("", "a"))},
        {"files": (File("f", "x"),)},
        {"files": (File("f", "y"),)},
        {"destination": "/c"},
        {"owner": "1"},
        {"mode": "600"},
        {"unpack": True},
        {"unpack": None},
        {"link": True},
        {"parents": True},
        {"excludes": ("x",)},
    )
    others = {keys(SOURCE, replace(COPY, **change))[1] for change in changes}
    assert len(others | {plain}) == len(changes) + 1


def test_a_timestamp_is_part_of_every_key():
    assert not set(keys(SOURCE, COPY)) & set(keys(SOURCE, COPY, timestamp=0))


def test_history_keys_count_instructions_that_change_no_file():
    one, two = graph(SOURCE, COPY, META), graph(SOURCE, COPY, replace(META, created_by="ENV A=2"))
    file_keys = keys(SOURCE, COPY, META)
    assert history_keys(one, file_keys)[:2] == history_keys(two, file_keys)[:2]
    assert history_keys(one, file_keys)[2] != history_keys(two, file_keys)[2]


def test_a_linked_copy_has_the_same_key_on_any_parent():
    linked = replace(COPY, link=True, parent=1)
    other = replace(WORKDIR, parent=0, path="/other")
    assert keys(SOURCE, replace(WORKDIR, parent=0), linked)[2] == keys(SOURCE, other, linked)[2]
    assert (
        keys(SOURCE, other, replace(linked, owner="1:2"))[2]
        == keys(SOURCE, replace(other, path="/x"), replace(linked, owner="1:2"))[2]
    )
    named = replace(linked, owner="app")
    assert keys(SOURCE, replace(WORKDIR, parent=0), named)[2] != keys(SOURCE, other, named)[2]


BIND = Mount("bind", "/m", "", "/a", is_read_only=True)
CACHE = Mount("cache", "/c", id="c", sharing="shared")
SECRET = Mount("secret", "/run/secrets/s", id="s", is_read_only=True)


def mounted(*mounts, content="content", **values):
    return keys(SOURCE, COPY, META, replace(RUN, mounts=mounts, **values), content=content)[3]


def test_keys_of_runs_with_more_are_golden():
    found = [mounted(mount)[:16] for mount in (BIND, replace(BIND, origin=0), CACHE, SECRET, Mount("tmpfs", "/t", size=1))]
    found += [mounted(security="insecure")[:16], mounted(scripts=(File("EOF", "#!/bin/sh\n"),))[:16]]
    assert found == MORE


MORE = [
    "f676bbde28ab537c",
    "b6e57539aae214ac",
    "0270a2b2f2bb9479",
    "b78c48a8fc5c3faf",
    "f3c0b4dc3cb5f107",
    "32cc9a266e33162d",
    "962df6925bb6f0c8",
]


def test_what_a_bind_reads_counts():
    parents = keys(SOURCE, COPY, content="x")[1], keys(SOURCE, COPY, content="y")[1]
    assert parents[0] != parents[1]
    plain = step_keys(graph(SOURCE, replace(RUN, parent=0, mounts=(BIND,))), lambda *_: "x")[1]
    other = step_keys(graph(SOURCE, replace(RUN, parent=0, mounts=(BIND,))), lambda *_: "y")[1]
    assert plain != other
    copied = graph(SOURCE, replace(COPY, parent=0), replace(RUN, parent=0, mounts=(replace(BIND, origin=1),)))
    stages = step_keys(copied, lambda *_: "x")[2], step_keys(copied, lambda *_: "y")[2]
    assert stages[0] != stages[1]


def test_what_is_in_a_cache_and_what_it_is_called_does_not_count():
    others = (replace(CACHE, id="other"), replace(CACHE, sharing="locked"), replace(CACHE, origin=0, source="/x"))
    assert {mounted(mount) for mount in others} == {mounted(CACHE)}
    assert mounted(CACHE, content="x") != mounted(CACHE, content="y"), "the step below counts"
    assert mounted(replace(CACHE, target="/d")) != mounted(CACHE)


def test_a_secret_counts_by_its_name_and_place():
    changes = ({"id": "t"}, {"target": "/t"}, {"mode": 0o444}, {"uid": 1}, {"env": "V"}, {"is_required": True})
    assert len({mounted(SECRET), *(mounted(replace(SECRET, **change)) for change in changes)}) == len(changes) + 1
