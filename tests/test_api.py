"""The Python API: what the command line does, as calls with values."""

from __future__ import annotations

import io
import pickle
import tarfile

import pytest

import pybuild
from pybuild.builder.errors import StepFailed


@pytest.fixture
def context(tmp_path):
    (tmp_path / "a").write_text("content")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG V=1\nCOPY a /a\nLABEL v=$V\n")
    return tmp_path


def test_everything_public_is_there():
    for name in pybuild.__all__:
        assert getattr(pybuild, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pybuild.nothing  # noqa: B018 (that it raises is the point)


def test_build_tag_look_and_remove(context):
    result = pybuild.build(context, tags=["one:1"], build_args={"V": "2"}, labels={"x": "y"})
    assert [name.familiar for name in result.names] == ["one:1"]
    assert pybuild.inspect("one:1")["Id"] == result.image_id
    assert pybuild.inspect("one:1")["Config"]["Labels"] == {"v": "2", "x": "y"}
    pybuild.tag("one:1", "two:2")
    ((image, names),) = pybuild.images()
    assert image.id == result.image_id and [name.familiar for name in names] == ["one:1", "two:2"]
    assert pybuild.history("one:1")[0]["CreatedBy"] == "LABEL v=2"
    assert pybuild.remove("one:1") == ("Untagged: one:1",)
    assert pybuild.remove("two:2")[0] == "Untagged: two:2"
    assert pybuild.images() == ()


def test_why_a_step_ran(context):
    pybuild.build(context)
    (context / "a").write_text("another")
    result = pybuild.build(context)
    step = pybuild.explanation(result.number).steps[1]
    assert (step.outcome.state, [change.name for change in step.changes]) == ("ran", ["a"])
    assert [build.number for build in pybuild.builds()] == [2, 1]


@pytest.mark.peers("docker-registry")
def test_push_and_pull(context, registry, tmp_path):
    name = registry.name("api/image:1")
    result = pybuild.build(context, tags=[name], push=True)
    seen = []

    class Progress:
        def emit(self, event):
            seen.append(event)

    assert pybuild.push(name, progress=Progress()).digest == result.digest
    assert seen
    assert pybuild.pull(name, root=tmp_path / "other").id == result.image_id


def test_errors_carry_what_a_program_needs(context):
    (context / "Dockerfile").write_text("FROM scratch\nCOPY missing /a\n")
    with pytest.raises(pybuild.BuildError) as caught:
        pybuild.build(context)
    assert caught.value.message == "missing: not found in the context"
    assert caught.value.span.line == 2
    (context / "Dockerfile").write_text("FORM scratch\n")
    with pytest.raises(pybuild.DockerfileError) as caught:
        pybuild.build(context)
    assert caught.value.exit_code == 2 and caught.value.hint == "did you mean FROM?"
    with pytest.raises(pybuild.RegistryError):
        pybuild.push("nothing")


def test_errors_come_out_of_a_process_pool(context):
    (context / "Dockerfile").write_text("FROM scratch\nCOPY missing /a\n")
    calls = [
        lambda: pybuild.build(context),
        lambda: pybuild.build(context, target="x"),
        lambda: pybuild.push("nothing"),
        lambda: pybuild.pull("127.0.0.1:1/x"),
        lambda: pybuild.tag("nothing", "x@sha256:1"),
    ]
    for call in calls:
        with pytest.raises((pybuild.BuildError, pybuild.RegistryError)) as caught:
            call()
        again = pickle.loads(pickle.dumps(caught.value))
        assert type(again) is type(caught.value) and str(again) == str(caught.value) and vars(again) == vars(caught.value)
    (context / "Dockerfile").write_text("FORM scratch\n")
    with pytest.raises(pybuild.DockerfileError) as syntax:
        pybuild.build(context)
    assert str(pickle.loads(pickle.dumps(syntax.value))) == str(syntax.value)
    failed = StepFailed("exit code 3", exit_code=3, output="oh")
    assert vars(pickle.loads(pickle.dumps(failed))) == vars(failed)


def test_what_would_mean_something_else_is_refused(context):
    for given in ({"tags": "one"}, {"allow": "network.host"}, {"no_cache_filter": "a"}):
        with pytest.raises(TypeError, match="not one text"):
            pybuild.build(context, **given)
    for given in ({"labels": {"a": 1}}, {"build_args": {"V": 2}}, {"build_contexts": {"x": context}}):
        with pytest.raises(TypeError, match="has texts: write"):
            pybuild.build(context, **given)
    with pytest.raises(TypeError, match="not one text"):
        pybuild.save("one", io.BytesIO())
    with pytest.raises(TypeError, match="not one text"):
        pybuild.run("one", "true")
    for given in ({"network": "bridge"}, {"isolation": "none"}, {"jobs": 0}, {"timestamp": -1}):
        with pytest.raises(pybuild.BuildError) as caught:
            pybuild.build(context, **given)
        assert caught.value.exit_code == 2 and caught.value.hint


def test_a_shell_that_completes_names_finds_all(context):
    assert set(pybuild.__all__) <= set(dir(pybuild))
    assert pybuild.doctor().level


@pytest.mark.parametrize("compression", ["gzip", "gzip:6", "zstd", "none"])
def test_compressions_have_one_diff_id(context, compression):
    pybuild.build(context, tags=["plain"], compression="none", timestamp=0)
    pybuild.build(context, tags=["other"], compression=compression, timestamp=0)
    plain, other = (pybuild.inspect(name)["RootFS"] for name in ("plain", "other"))
    assert plain == other


def test_lint_gives_findings_with_places_and_edits(context):
    (context / "Dockerfile").write_text("FROM scratch as a\nCOPY $missing /\n")
    first, second = pybuild.lint(context)
    assert (first.rule, first.span[:2], first.edits[0].text) == ("FromAsCasing", (1, 14), "AS")
    assert (second.rule, second.span[:2], second.edits) == ("UndefinedVar", (2, 6), ())
    assert pybuild.lint(context / "Dockerfile", check="skip=all") == ()
    with pytest.raises(ValueError, match="is no option of check"):
        pybuild.lint(context, check="never")


@pytest.mark.root
@pytest.mark.peers("umoci")
def test_a_run_is_given_secrets(foreign_layout, tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM ubuntu\nRUN --mount=type=secret,id=s,required [ $(cat /run/secrets/s) = hunter2 ]\n")
    (tmp_path / "secret").write_text("hunter2")
    contexts = {"ubuntu": f"oci-layout://{foreign_layout}"}
    secret = pybuild.SecretSource("s", str(tmp_path / "secret"))
    assert pybuild.build(folder, secrets=[secret], build_contexts=contexts)
    with pytest.raises(pybuild.BuildError, match="'s' is required"):
        pybuild.build(folder, build_contexts=contexts, no_cache=True)


def test_what_changes_while_it_is_copied_is_not_kept_for_later(context, tmp_path):
    """The key was of the file as it was, and the layer has the file as it is now."""
    said = []

    class Meddler:
        def emit(self, event):
            if type(event).__name__ == "StepStarted" and event.name.startswith("COPY"):
                (context / "a").write_text("CONTENT")
            elif type(event).__name__ == "Notice":
                said.append(event.message)

    def copied():
        pybuild.build(context, outputs=[pybuild.Output("tar", str(tmp_path / "out.tar"))])
        with tarfile.open(tmp_path / "out.tar") as archive:
            return archive.extractfile("a").read()

    pybuild.build(context, progress=Meddler())
    assert any("files changed while they were copied" in message for message in said)
    (context / "a").write_text("content")
    assert copied() == b"content"
