"""Git repositories: which commit a ref is, what of it is checked out, and that nothing of somebody's runs."""

from __future__ import annotations

import os

import pytest
from real.repositories import TIME, Repository, git

from pybuild.builder.errors import RemoteError
from pybuild.builder.graph import GitStep
from pybuild.builder.remote.git import Repositories
from pybuild.grammar import Span

pytestmark = pytest.mark.slow
SPAN = Span(1, 1, 1, 2)


def step(site, ref="", **values) -> GitStep:
    return GitStep("", SPAN, f"{site.url}/git/r.git", ref, **values)


def files(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts)


@pytest.fixture
def checkout(workspace, tmp_path):
    def out(wanted: GitStep):
        place = tmp_path / f"out-{len(os.listdir(tmp_path))}"
        Repositories(workspace).checkout(wanted, str(place))
        return place

    return out


@pytest.mark.parametrize("ref", ["", "main", "other", "v1", "refs/heads/main", "refs/tags/v1", "heads/other"])
def test_the_commit_of_a_ref(workspace, site, repository, ref):
    assert Repositories(workspace).commit(step(site, ref)) == repository.commit(ref or "main")


def test_an_annotated_tag_is_the_commit_behind_it_unless_the_git_dir_is_kept(workspace, site, repository):
    assert Repositories(workspace).commit(step(site, "v2")) == repository.commit("v2")
    tag = git("rev-parse", "v2", cwd=repository.folder / "r.git")
    assert Repositories(workspace).commit(step(site, "v2", keeps_git_dir=True)) == tag


def test_a_commit_is_not_asked_for(workspace, site, repository):
    commit = repository.commit("v1")
    assert Repositories(workspace).commit(step(site, commit)) == commit
    assert Repositories(workspace).commit(step(site, "x", checksum=commit, fetches_commit=True)) == commit
    assert site.asked == []


def test_a_checksum_is_the_beginning_of_the_commit(workspace, site, repository):
    commit = repository.commit("main")
    assert Repositories(workspace).commit(step(site, "main", checksum=commit[:7])) == commit
    with pytest.raises(RemoteError, match=f"it is {commit}, and not abc"):
        Repositories(workspace).commit(step(site, "main", checksum="abc"))


def test_files_links_and_modes_are_checked_out_and_no_git_dir(site, checkout):
    place = checkout(step(site))
    assert files(place) == ["f", "l", "sub", "sub/deep", "sub/deep/s", "x.sh"]
    assert not (place / ".git").exists()
    assert os.readlink(place / "l") == "f"
    assert [oct(os.lstat(place / name).st_mode & 0o7777) for name in (".", "f", "x.sh", "sub")] == [
        "0o755",
        "0o644",
        "0o755",
        "0o755",
    ]


def test_whatever_the_umask(site, checkout):
    before = os.umask(0o077)
    try:
        place = checkout(step(site, "v1"))
    finally:
        os.umask(before)
    assert (place / "f").stat().st_mode & 0o777 == 0o644
    assert (place / "sub").stat().st_mode & 0o777 == 0o755


def test_a_folder_of_it(site, checkout):
    assert files(checkout(step(site, "v1", subdir="sub/deep"))) == ["s"]
    for subdir in ("none", "f", "l"):
        with pytest.raises(RemoteError, match="no folder"):
            checkout(step(site, subdir=subdir))


@pytest.mark.parametrize("target", ["sub", "/etc"])
def test_a_folder_of_it_is_not_behind_a_link(site, tmp_path, checkout, target):
    own = tmp_path / "own"
    own.mkdir()
    work = Repository.made(own).work
    site.repositories = own
    (work / "link").symlink_to(target)
    git("add", "link", cwd=work)
    git("commit", "-qm", "a link", cwd=work)
    git("clone", "-q", "--bare", str(work), str(own / "links.git"), cwd=own)
    with pytest.raises(RemoteError, match="no folder"):
        checkout(GitStep("", SPAN, f"{site.url}/git/links.git", subdir="link"))


def test_a_commit_that_no_ref_has_is_found_with_the_whole_history(site, repository, checkout):
    assert (checkout(step(site, repository.commit("v1"))) / "f").read_text() == "one\n"


def test_the_git_dir_is_kept_with_one_commit_and_the_real_origin(site, checkout):
    place = checkout(step(site, "main", keeps_git_dir=True))
    assert git("log", "--format=%s", cwd=place) == "two"
    assert git("status", "--porcelain", cwd=place) == ""
    assert git("remote", "get-url", "origin", cwd=place) == f"{site.url}/git/r.git"
    assert not (place / ".git/hooks").exists()


@pytest.mark.parametrize("ref", ["", "v1", "COMMIT"])
@pytest.mark.parametrize("keeps_git_dir", [False, True])
def test_a_server_of_plain_files_gives_the_history_alone(site, tmp_path, checkout, ref, keeps_git_dir):
    own = _plain(site, tmp_path / "plain")
    wanted = GitStep(
        "", SPAN, f"{site.url}/plain/r.git", own.commit("v1") if ref == "COMMIT" else ref, keeps_git_dir=keeps_git_dir
    )
    place = checkout(wanted)
    assert (place / "f").read_text() == ("one\n" if ref else "two\n")
    assert not keeps_git_dir or git("rev-list", "--count", "HEAD", cwd=place) == "1"


def test_the_git_dir_of_a_tag_that_came_with_the_history_before(site, tmp_path, checkout):
    own = _plain(site, tmp_path / "plain")
    checkout(GitStep("", SPAN, f"{site.url}/plain/r.git", own.commit("v1")))
    place = checkout(GitStep("", SPAN, f"{site.url}/plain/r.git", "v1", keeps_git_dir=True))
    assert git("describe", "--tags", cwd=place) == "v1"


@pytest.mark.parametrize("keeps_git_dir", [False, True])
def test_a_submodule_with_a_relative_address_on_a_server_of_plain_files(keeps_git_dir, site, tmp_path, checkout):
    for name in ("inner", "outer"):
        (tmp_path / name).mkdir()
    inner, outer = Repository.made(tmp_path / "inner"), Repository.made(tmp_path / "outer")
    inner.folder.joinpath("r.git").rename(outer.folder / "i.git")
    git("submodule", "add", "-q", "../i.git", "sub/m", cwd=_with_origin(outer, site))
    git("commit", "-qm", "m", cwd=outer.work)
    git("push", "-q", str(outer.folder / "r.git"), "main", cwd=outer.work)
    for name in ("r.git", "i.git"):
        git("update-server-info", cwd=outer.folder / name)
    _publish(site, outer.folder)
    place = checkout(GitStep("", SPAN, f"{site.url}/plain/r.git", "main", keeps_git_dir=keeps_git_dir))
    assert (place / "sub/m/f").read_text() == "two\n"


def _plain(site, folder) -> Repository:
    folder.mkdir()
    own = Repository.made(folder)
    git("update-server-info", cwd=own.folder / "r.git")
    _publish(site, own.folder)
    return own


def _with_origin(repository, site):
    site.repositories = repository.folder
    git("remote", "add", "origin", f"{site.url}/git/r.git", cwd=repository.work)
    return repository.work


def _publish(site, folder) -> None:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    site.files |= {f"/plain/{path.relative_to(folder)}": path.read_bytes() for path in paths}


def test_the_time_of_the_commit_on_every_file(site, checkout):
    place = checkout(step(site, times="commit"))
    assert {path.lstat().st_mtime for path in (place, *place.rglob("*"))} == {TIME}


def test_what_is_there_is_not_fetched_again(site, workspace, checkout, repository):
    wanted = step(site, repository.commit("main"))
    checkout(wanted)
    asked = len(site.asked)
    checkout(wanted)
    assert len(site.asked) == asked


def test_a_branch_that_moves_on_is_followed(site, tmp_path, workspace, checkout):
    (tmp_path / "own").mkdir()
    own = Repository.made(tmp_path / "own")
    site.repositories = own.folder
    assert (checkout(step(site, "main")) / "f").read_text() == "two\n"
    commit = own.push("three")
    assert Repositories(workspace).commit(step(site, "main")) == commit
    assert (checkout(step(site, "main")) / "f").read_text() == "three"


def test_submodules_come_along_unless_they_are_not_wanted(site, tmp_path, repository, checkout):
    own = tmp_path / "own"
    own.mkdir()
    work = Repository.made(own).work
    site.repositories = own
    (work / ".gitmodules").write_text(f'[submodule "m"]\n\tpath = m\n\turl = {site.url}/git/r.git\n')
    git("add", ".gitmodules", cwd=work)
    git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'main', cwd=own / 'r.git')},m", cwd=work)
    git("commit", "-qm", "m", cwd=work)
    git("clone", "-q", "--bare", str(work), str(own / "with.git"), cwd=own)
    wanted = GitStep("", SPAN, f"{site.url}/git/with.git")
    assert (checkout(wanted) / "m/f").read_text() == "two\n"
    assert list((checkout(GitStep("", SPAN, f"{site.url}/git/with.git", has_submodules=False)) / "m").iterdir()) == []


@pytest.mark.parametrize("address", ["ext::sh -c touch% {}", "file://{}"])
def test_a_submodule_is_no_command_and_no_folder_of_ours(site, tmp_path, checkout, address):
    own = tmp_path / "own"
    own.mkdir()
    made = Repository.made(own)
    site.repositories = own
    target = address.format(tmp_path / "touched" if "ext" in address else own / "r.git")
    (made.work / ".gitmodules").write_text(f'[submodule "m"]\n\tpath = m\n\turl = {target}\n')
    git("add", ".gitmodules", cwd=made.work)
    git("update-index", "--add", "--cacheinfo", f"160000,{git('rev-parse', 'main', cwd=own / 'r.git')},m", cwd=made.work)
    git("commit", "-qm", "m", cwd=made.work)
    git("clone", "-q", "--bare", str(made.work), str(own / "with.git"), cwd=own)
    with pytest.raises(RemoteError, match=r"not allowed|transport"):
        checkout(GitStep("", SPAN, f"{site.url}/git/with.git"))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("remote", "ref", "message"),
    [
        ("--upload-pack=touch x", "", "begin"),
        ("http://127.0.0.1:1/x.git", "--upload-pack=x", "begin"),
        ("ssh://-oProxyCommand=touch%20x/y", "", None),
    ],
)
def test_nothing_is_taken_for_an_option(workspace, tmp_path, monkeypatch, remote, ref, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RemoteError, match=message):
        Repositories(workspace).commit(GitStep("", SPAN, remote, ref))
    assert not (tmp_path / "x").exists()


def test_no_configuration_and_no_repository_around_the_store_is_read(site, tmp_path, monkeypatch):
    from pybuild.builder.workspace import Workspace

    (tmp_path / "home").mkdir()
    config = f'[url "http://127.0.0.1:1/"]\n\tinsteadOf = {site.url}/\n[core]\n\tsshCommand = touch {tmp_path}/ran\n'
    (tmp_path / "home/.gitconfig").write_text(config)
    git("init", "-q", ".", cwd=tmp_path)
    with (tmp_path / ".git/config").open("a") as file:
        file.write(config)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {tmp_path}/ran")
    with Workspace.open(tmp_path / "store") as workspace:
        assert len(Repositories(workspace).commit(step(site, "main"))) == 40
        with pytest.raises(RemoteError):
            Repositories(workspace).commit(GitStep("", SPAN, "git@127.0.0.1:x/y.git"))
    assert not (tmp_path / "ran").exists()


def test_without_git_the_error_says_what_to_install(workspace, site):
    with pytest.raises(RemoteError, match="no git here") as caught:
        Repositories(workspace, environ={"PATH": "/nonexistent"}).commit(step(site))
    assert "install" in str(caught.value.hint)


def test_what_is_not_there(workspace, site):
    with pytest.raises(RemoteError, match="no branch and no tag none"):
        Repositories(workspace).commit(step(site, "none"))
    with pytest.raises(RemoteError, match="not found"):
        Repositories(workspace).commit(GitStep("", SPAN, f"{site.url}/git/none.git"))
