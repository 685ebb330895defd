"""Which texts mean a URL or a git repository, and what of it: the cases are what BuildKit's own parser says."""

import pytest

from pybuild.builder.remote.addresses import AddressError, GitAddress, file_name, git_address, is_commit, is_url, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h/foo.git", GitAddress("https://h/foo.git")),
        ("https://h/foo.git#v1", GitAddress("https://h/foo.git", "v1")),
        ("https://h/foo.git#a/b:c/d", GitAddress("https://h/foo.git", "a/b", "c/d")),
        ("https://h/foo.git#:c/../d/", GitAddress("https://h/foo.git", "", "d")),
        ("https://h/foo.git#v1:../../etc", GitAddress("https://h/foo.git", "v1", "etc")),
        ("http://h/foo.git?ref=v1&subdir=/x", GitAddress("http://h/foo.git", "v1", "x")),
        ("https://h/foo.git?tag=v1", GitAddress("https://h/foo.git", "refs/tags/v1")),
        ("https://h/foo.git?branch=refs/heads/b", GitAddress("https://h/foo.git", "refs/heads/b")),
        ("https://h/foo.git?checksum=ab&keep-git-dir", GitAddress("https://h/foo.git", checksum="ab", keeps_git_dir=True)),
        (
            "https://h/foo.git?submodules=false&mtime=commit",
            GitAddress("https://h/foo.git", has_submodules=False, times="commit"),
        ),
        ("https://h/foo.git?commit=ab&fetch-by-commit=1", GitAddress("https://h/foo.git", checksum="ab", fetches_commit=True)),
        ("https://u:p@h/foo.git#x", GitAddress("https://u:p@h/foo.git", "x")),
        ("git://h/foo", GitAddress("git://h/foo")),
        ("ssh://git@h:22/foo#x:y", GitAddress("ssh://git@h:22/foo", "x", "y")),
        ("git@h:foo/bar.git#x:y", GitAddress("git@h:foo/bar.git", "x", "y")),
        ("git@h:foo?ref=x", GitAddress("git@h:foo", "x")),
        ("user_1@h.x-y:foo", GitAddress("user_1@h.x-y:foo")),
        ("github.com/x/y", GitAddress("https://github.com/x/y", is_guess=True)),
        ("https://h/foo", None),
        ("https://h/foo.git/x", None),
        ("https://h/foo.tar.gz", None),
        ("file:///x.git", None),
        ("ext::sh -c x", None),
        ("./git@h:x", None),
        ("../github.com/x", None),
        ("x", None),
        ("/x.git", None),
        ("h:x", None),
    ],
)
def test_a_git_address(text, expected):
    assert git_address(text) == expected


@pytest.mark.parametrize(
    "query",
    ["ref", "ref=", "x=1", "ref=a&ref=b", "tag=a&branch=b", "keep-git-dir=maybe", "mtime=now", "submodules=2", "tag=a&ref=b"],
)
def test_a_query_that_cannot_be(query):
    with pytest.raises(AddressError):
        git_address(f"https://h/foo.git?{query}")


def test_a_query_and_a_fragment_may_not_contradict_each_other():
    assert git_address("https://h/foo.git?ref=a#a:b") == GitAddress("https://h/foo.git", "a", "b")
    for text in ("https://h/foo.git?ref=a#b", "https://h/foo.git?subdir=x#:y"):
        with pytest.raises(AddressError):
            git_address(text)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/b.txt", "b.txt"),
        ("http://h/a/b.txt?x=/y#z", "b.txt"),
        ("http://h/a/", "a"),
        ("http://h/a%20b", "a b"),
        ("http://h/a/..", "__unnamed__"),
        ("http://h/", "__unnamed__"),
        ("http://h", "__unnamed__"),
        ("http://h/[1]*", "[1]*"),
    ],
)
def test_a_files_name_is_the_last_part_of_the_path(url, name):
    assert file_name(url) == name


def test_what_is_shown_has_no_password_and_no_signature():
    assert shown("https://me:secret@h/x?sig=abc") == "https://h/x?..."
    assert shown("git@h:x") == "git@h:x"


def test_commits_and_urls():
    assert is_commit("a" * 40) and is_commit("0" * 64)
    assert not is_commit("a" * 39) and not is_commit("A" * 40) and not is_commit("main")
    assert is_url("http://h") and is_url("https://h") and not is_url("ftp://h") and not is_url("x")
