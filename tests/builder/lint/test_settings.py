"""Which rules count: the directive, the comments above instructions, and what is refused."""

from __future__ import annotations

import pytest

from pybuild.builder.lint import Settings


def test_all_parts_are_read_and_blanks_around_them_do_not_count():
    assert Settings.parse(" skip = A, B ;experimental=all; error = true") == Settings(
        frozenset({"A", "B"}), frozenset({"all"}), True
    )
    assert Settings.parse("") == Settings()


@pytest.mark.parametrize("text", ["A", "skip", "skip=A;never=1", "error=perhaps", "error=", "skip=A;x=y"])
def test_what_means_nothing_is_refused(text: str):
    with pytest.raises(ValueError):
        Settings.parse(text)


def test_experimental_rules_know_of_experimental_alone():
    settings = Settings.parse("skip=all;experimental=E")
    assert not settings.counts("A", is_experimental=False)
    assert settings.counts("E", is_experimental=True)
    assert not settings.counts("F", is_experimental=True)


def test_a_comment_adds_to_the_settings_of_the_file():
    settings = Settings.parse("skip=A")
    assert settings.beneath(["text", "CHECK = skip=B;error=true // why"]) == Settings(frozenset({"A", "B"}))
    assert settings.beneath(["check=nonsense"]) == settings.beneath(["checked=skip=B"]) == settings
    # The first counts.
    assert settings.beneath(["check=skip=B", "check=skip=C"]).skip == {"A", "B"}
