"""Word expansion against a model: words are made with their meaning, and the text of each has to come out as that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pybuild.grammar import WordError, expand, split

NAMES = ("A", "B", "C_1")
PLAIN = st.text(st.sampled_from("abxyz019._-é ,:=@"), min_size=1, max_size=6)
VALUES = st.text(st.sampled_from("ab*?/.}\\ $'\""), max_size=8)
ENVS = st.dictionaries(st.sampled_from(NAMES), VALUES)


def matches(pattern: str, text: str) -> bool:
    """Whether `*` and `?` make the pattern the text; nothing is escaped."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(matches(pattern[1:], text[place:]) for place in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])


def defaulted(name, modifier, word, is_colon):
    text, meaning = word

    def value(env):
        there = bool(env.get(name)) if is_colon else name in env
        if modifier == "-":
            return env.get(name, "") if there else meaning(env)
        return meaning(env) if there else ""

    return "${" + name + ":" * is_colon + modifier + text + "}", value


def trimmed(name, modifier, longest, pattern):
    def value(env):
        whole = env.get(name, "")
        cuts = range(len(whole) + 1)
        if modifier == "#":
            fitting = [cut for cut in cuts if matches(pattern, whole[:cut])]
            return whole[(max if longest else min)(fitting) :] if fitting else whole
        fitting = [cut for cut in cuts if matches(pattern, whole[cut:])]
        return whole[: (min if longest else max)(fitting)] if fitting else whole

    return "${" + name + modifier * (1 + longest) + pattern + "}", value


def joined(parts):
    return "".join(text for text, _ in parts), lambda env: "".join(meaning(env) for _, meaning in parts)


def quoted(part):
    return f'"{part[0]}"', part[1]


TEXTS = PLAIN.map(lambda text: (text, lambda env: text))
ESCAPED = st.sampled_from("$'\"\\a}").map(lambda character: ("\\" + character, lambda env: character))
SINGLE = st.text(st.sampled_from('ab $"{}\\*'), max_size=5).map(lambda text: (f"'{text}'", lambda env: text))
PLAIN_VARIABLES = st.sampled_from(NAMES).map(lambda name: ("${" + name + "}", lambda env: env.get(name, "")))
TRIMMED = st.builds(
    trimmed,
    st.sampled_from(NAMES),
    st.sampled_from("#%"),
    st.booleans(),
    st.text(st.sampled_from("ab*?."), min_size=1, max_size=4),
)
# No double quotes inside double quotes, so two families: what may stand in them, and what may not.
INNER = st.recursive(
    st.one_of(PLAIN_VARIABLES, TRIMMED, TEXTS),
    lambda inner: st.builds(
        defaulted, st.sampled_from(NAMES), st.sampled_from("-+"), st.lists(inner, max_size=3).map(joined), st.booleans()
    ),
    max_leaves=6,
)
WORDS = st.lists(st.one_of(TEXTS, ESCAPED, SINGLE, INNER, st.lists(INNER, max_size=3).map(joined).map(quoted)), max_size=6).map(
    joined
)


@given(WORDS, ENVS)
def test_a_word_means_what_the_model_says(word, env):
    text, meaning = word
    assert expand(text, env) == meaning(env)


@given(st.text(st.sampled_from("ab${}:-+?#%/*'\"\\` \n<é1@"), max_size=20), ENVS, st.sampled_from("\\`"))
def test_any_text_is_a_word_or_a_word_error(text, env, escape):
    for function in (expand, split):
        try:
            function(text, env, escape=escape)
        except WordError as error:
            assert error.message and 1 <= error.span.column < error.span.end_column
            assert str(error)


@given(st.text(max_size=30))
def test_text_in_single_quotes_is_itself(text):
    inside = text.replace("'", "")
    assert expand(f"'{inside}'", {}) == inside


@given(st.text(max_size=30), st.sampled_from("\\`"))
def test_text_with_every_character_escaped_is_itself(text, escape):
    assert expand("".join(escape + character for character in text), {}, escape=escape) == text


@given(st.text(max_size=20))
def test_an_expansion_is_not_expanded_again(value):
    assert expand("$A", {"A": value}) == expand('"${A}"', {"A": value}) == value


# Without modifiers: BuildKit's splitting forgets what stands before one (see test_words).
SPLIT = st.lists(st.one_of(TEXTS, ESCAPED, SINGLE, PLAIN_VARIABLES, PLAIN_VARIABLES.map(quoted)), max_size=6).map(joined)


@given(SPLIT, ENVS)
def test_split_words_hold_what_expand_holds_but_blanks(word, env):
    text, _ = word
    assert "".join("".join(split(text, env)).split()) == "".join(expand(text, env).split())
