"""What a config.toml says: which rule fits a name, where the name leads, and what is wrong with a file."""

from __future__ import annotations

import subprocess

import pytest

from pybuild.registry import Digest, Reference
from pybuild.registry.errors import Blocked, InvalidDocument, RegistryError
from pybuild.registry.settings import Place, load, places


@pytest.fixture
def rules(tmp_path):
    """Rules from the text of a file."""

    def read(text):
        (tmp_path / "config.toml").write_text(text)
        return load({"PYBUILD_CONFIG": str(tmp_path / "config.toml")})

    return read


def found(name, rules, **options):
    return [f"{place.registry}/{place.path}" for place in places(Reference.parse(name), rules, **options)]


def test_without_a_file_a_name_leads_where_it_says(tmp_path):
    rules = load({"HOME": str(tmp_path)})
    assert rules == ()
    assert places(Reference.parse("ubuntu"), rules, insecure=True) == (Place("docker.io", "library/ubuntu", True),)


def test_mirrors_come_first(rules):
    read = rules('[[registry]]\nprefix = "docker.io"\nmirrors = ["m.io", {location = "n.io:5000/hub", insecure = true}]\n')
    assert places(Reference.parse("ubuntu:1"), read) == (
        Place("m.io", "library/ubuntu", False, True),
        Place("n.io:5000", "hub/library/ubuntu", True, True),
        Place("docker.io", "library/ubuntu"),
    )
    assert found("ghcr.io/a", read) == ["ghcr.io/a"]


def test_mirrors_for_digests_or_tags_alone(rules):
    read = rules(
        '[[registry]]\nprefix = "r.io"\nmirrors = [{location = "d.io", only = "digests"}, {location = "t.io", only = "tags"}]\n'
    )
    assert found("r.io/a:1", read) == ["t.io/a", "r.io/a"]
    assert found(f"r.io/a@{Digest.of(b'')}", read) == ["d.io/a", "r.io/a"]


@pytest.mark.parametrize(
    ("name", "leads_to"),
    [
        ("r.io/team/app", "moved.io/x/app"),
        ("r.io/team/deep/app", "moved.io/x/deep/app"),
        ("r.io/teams/app", "whole.io/teams/app"),
        ("r.io/app", "whole.io/app"),
        ("other.io/r.io/app", "other.io/r.io/app"),
        ("r.io:5000/app", "r.io:5000/app"),
    ],
)
def test_the_longest_prefix_is_rewritten_and_only_at_a_slash(name, leads_to, rules):
    read = rules('[[registry]]\nprefix="r.io"\nlocation="whole.io"\n[[registry]]\nprefix="r.io/team"\nlocation="moved.io/x"\n')
    assert found(name, read) == [leads_to]


def test_a_pattern_of_hosts(rules):
    read = rules('[[registry]]\nprefix="*.corp.io"\ninsecure=true\n[[registry]]\nprefix="x.corp.io"\n')
    assert [place.insecure for name in ("a.corp.io/x", "b.a.corp.io:99/x", "x.corp.io/x", "corp.io/x")
            for place in places(Reference.parse(name), read)] == [True, True, False, False]  # fmt: skip


def test_what_is_blocked(rules):
    read = rules('[[registry]]\nprefix="docker.io"\nblocked=true\n[[registry]]\nprefix="docker.io/library"\n')
    assert found("ubuntu", read) == ["docker.io/library/ubuntu"]
    with pytest.raises(Blocked, match=r"me/app:latest: docker\.io is blocked") as failed:
        found("me/app", read)
    assert "config.toml" in failed.value.hint


def test_the_user_s_file_takes_the_place_of_the_system_s_entries(tmp_path, monkeypatch):
    from pybuild.registry import settings

    (tmp_path / "pybuild").mkdir()
    (tmp_path / "system.toml").write_text(
        '[[registry]]\nprefix="a.io"\nblocked=true\n[[registry]]\nprefix="b.io"\nblocked=true\n'
    )
    (tmp_path / "pybuild" / "config.toml").write_text('[[registry]]\nprefix="a.io"\n')
    monkeypatch.setattr(settings, "_SYSTEM", tmp_path / "system.toml")
    read = load({"XDG_CONFIG_HOME": str(tmp_path)})
    assert [(rule.prefix, rule.blocked) for rule in read] == [("a.io", False), ("b.io", True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[registry]\n", "at line 1, column"),
        ("registries = 1\n", "nothing is called 'registries' here"),
        ("[[registry]]\ninsecure = true\n", r"registry\[0\]: prefix is missing"),
        ('[[registry]]\nprefix = "docker.io"\nmirror = []\n', r"registry\[0\]: nothing is called 'mirror' here"),
        ('[[registry]]\nprefix = "team"\n', "'team' is no HOST"),
        ('[[registry]]\nprefix = "r.io"\nlocation = "https://x.io"\n', "location: 'https://x.io' is no HOST"),
        ('[[registry]]\nprefix = "r.io"\ninsecure = "yes"\n', "insecure is not of the right type"),
        ('[[registry]]\nprefix = "r.io"\nmirrors = [{location = "m.io", only = "x"}]\n', r"mirrors\[0\]: only is 'x'"),
        ('[[registry]]\nprefix = "*.r.io"\nlocation = "m.io"\n', "has no location"),
        ("[[registry]]\nmirrors = 3\nprefix = 'r.io'\n", "mirrors is not of the right type"),
    ],
)
def test_a_file_that_makes_no_sense_says_where(text, message, rules):
    with pytest.raises(InvalidDocument, match=message) as failed:
        rules(text)
    assert str(failed.value).startswith("/") and "config.toml: " in str(failed.value)


def test_a_named_file_has_to_be_there(tmp_path):
    with pytest.raises(RegistryError, match="cannot read"):
        load({"PYBUILD_CONFIG": str(tmp_path / "nothing")})


def test_toml_is_not_imported_when_there_is_no_file(tmp_path):
    from real.command import IMPORT, PYTHON

    script = f"{IMPORT}; from pybuild.registry import settings; settings.load({{'HOME': {str(tmp_path)!r}}}); import sys; print('tomllib' in sys.modules)"
    assert subprocess.run([*PYTHON, script], capture_output=True, text=True, check=True).stdout == "False\n"
