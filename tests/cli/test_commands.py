"""The command line on a store: what is printed, and with which exit code it ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import subprocess
import sys
import tarfile
import time

import pytest
from real.command import COMMAND

import pybuild as api
from pybuild.api import open_store
from pybuild.cli import run
from pybuild.cli.commands import COMMANDS
from pybuild.cli.habits import COMMANDS as COMMAND_HABITS
from pybuild.cli.habits import OPTIONS
from pybuild.registry import Index, Reference


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "a").write_text("content")
    (folder / "Dockerfile").write_text('FROM scratch\nARG V=1\nENV A=$V\nCOPY a /a\nLABEL l=$V\nCMD ["/a"]\n')
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_does_what_it_says_it_does(cli, name):
    code, out, _ = cli(name, "--help")
    assert code == 0 and out.startswith("Usage: pybuild " + name)
    assert COMMANDS[name] in cli("--help")[1]
    assert not re.search(" (TEXT|INTEGER|FLOAT)( RANGE)? ", out), "every option says what it takes"


def test_version_tells_it_from_the_other_pybuild(cli):
    assert "the container image builder" in cli("--version")[1]


def test_build_and_look(cli, context, tmp_path):
    code, out, err = cli("build", "-t", "a:1", "-t", "b", "--build-arg", "V=2", "--iidfile", tmp_path / "id", context)
    assert code == 0 and out == ""
    assert "#2 [2/2] COPY a /a" in err and "built a:1, b:latest" in err
    identity = (tmp_path / "id").read_text()
    assert cli("build", "-q", "--build-arg", "V=2", context)[1:] == (identity + "\n", "")
    assert [line.split()[:3] for line in cli("images")[1].splitlines()[1:]] == [
        ["a", "1", identity[7:19]],
        ["b", "latest", identity[7:19]],
    ]
    assert cli("images", "-q", "a")[1] == identity[7:19] + "\n"
    assert cli("images", "--format", "{{.Repository}}:{{.Tag}}", "b")[1] == "b:latest\n"
    found = json.loads(cli("inspect", "a:1")[1])[0]
    assert found["RepoTags"] == ["a:1", "b:latest"] and found["Config"]["Labels"] == {"l": "2"}
    assert cli("inspect", "-f", "{{.Id}}", identity[7:15])[1] == identity + "\n"
    lines = cli("history", "--format", "{{.CreatedBy}}", "a:1")[1].splitlines()
    assert lines == ['CMD ["/a"]', "LABEL l=2", "COPY a /a", "ENV A=2", "ARG V=2"]
    assert cli("tag", "a:1", "127.0.0.1:1/c:3")[0] == 0
    assert cli("rmi", identity[7:19])[0] == 1
    assert cli("rmi", "a:1", "b")[1] == "Untagged: a:1\nUntagged: b:latest\n"
    out = cli("rmi", "127.0.0.1:1/c:3")[1].splitlines()
    assert out[0] == "Untagged: 127.0.0.1:1/c:3" and len([line for line in out if line.startswith("Deleted: sha256:")]) == 3
    assert len(cli("images")[1].splitlines()) == 1


def test_what_rmi_deleted_is_built_again(cli, context):
    first = cli("build", "-q", "-t", "a", context)[1]
    cli("rmi", "a")
    assert cli("build", "-q", "-t", "a", context)[0] == 0
    assert cli("inspect", "a")[0] == 0
    assert first.startswith("sha256:")


def test_rmi_keeps_what_another_image_needs(cli, context):
    cli("build", "-q", "-t", "a", context)
    cli("build", "-q", "-t", "b", "--label", "x=y", context)
    deleted = cli("rmi", "a")[1]
    layer = api.images()[0][0].manifest.layers[0].digest
    assert layer not in deleted
    assert cli("save", "-o", context / "b.tar", "b")[0] == 0


def test_rmi_by_digest_is_about_the_image_and_not_one_of_its_names(cli, context):
    cli("build", "-q", "-t", "a:1", "-t", "a:2", context)
    digest = cli("inspect", "-f", "{{.Descriptor.digest}}", "a:1")[1].strip()
    code, out, err = cli("rmi", f"a@{digest}")
    assert (code, out) == (1, "") and "has 2 names: a:1, a:2" in err
    out = cli("rmi", "--force", f"a@{digest}")[1].splitlines()
    assert out[:2] == ["Untagged: a:1", "Untagged: a:2"] and f"Deleted: {digest}" in out
    assert cli("images", "-q")[1] == ""


def test_rmi_keeps_a_manifest_that_is_part_of_an_index(cli, context, tmp_path):
    cli("build", "-q", "-t", "a", context)
    store = open_store(None)
    index = Index.build((store.find("a").descriptor,))
    store.tag(store.add(index.raw, index.media_type), Reference.parse("many"))
    cli("build", "-q", "-t", "b", "--label", "x=y", context)
    assert "Deleted" not in cli("rmi", "a")[1]
    assert cli("save", "-o", tmp_path / "many.tar", "many")[0] == 0


def test_rmi_beside_a_build_deletes_no_blob(cli, context):
    cli("build", "-q", "-t", "a", context)
    store = open_store(None)
    blobs = store.blobs()
    with store.in_use():
        assert cli("rmi", "a")[:2] == (0, "Untagged: a:latest\n")
    assert store.blobs() == blobs


def test_images_by_filter(cli, context):
    cli("build", "-q", "-t", "a:1", "-t", "127.0.0.1:1/x/b:2", context)
    cli("build", "-q", "-t", "a:1", "--label", "x=y", context)
    show = ("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert cli(*show, "-f", "dangling=true")[1] == ""
    assert cli(*show, "--filter", "reference=a")[1] == "a:1\n"
    assert cli(*show, "-f", "reference=*:1")[1] == "a:1\n"
    assert cli(*show, "-f", "reference=*/*/b")[1] == "127.0.0.1:1/x/b:2\n"
    assert cli(*show, "-f", "reference=*/b")[1] == ""
    assert sorted(cli(*show, "-f", "reference=a", "-f", "reference=*/x/*:2")[1].splitlines()) == ["127.0.0.1:1/x/b:2", "a:1"]
    cli("build", "-q", "-t", "127.0.0.1:1/x/b:2", "--label", "x=z", context)
    assert cli(*show, "-f", "dangling=true")[1] == "<none>:<none>\n"
    assert "<none>" not in cli(*show, "-f", "dangling=false")[1]
    assert cli(*show, "-f", "dangling=true", "-f", "reference=a")[1] == ""


def test_save_and_load(cli, context, tmp_path, monkeypatch):
    identity = cli("build", "-q", "-t", "a:1", context)[1].strip()
    assert cli("save", "-o", tmp_path / "a.tar", "a:1")[0] == 0
    code, out, _ = cli("--root", tmp_path / "other", "load", "-i", tmp_path / "a.tar")
    assert (code, out) == (0, "Loaded image: a:1\n")
    assert cli("--root", tmp_path / "other", "inspect", "-f", "{{.Id}}", "a:1")[1].strip() == identity


def test_no_image_is_known_by_the_digest_of_another(cli, context, tmp_path):
    """FROM NAME@DIGEST believes what is here by that name: an archive could put its own there."""
    lie = "127.0.0.1:1/lie@sha256:" + "0" * 64
    assert cli("build", "-t", "a:1", context)[0] == 0
    code, _, err = cli("build", "-t", lie, context)
    assert code == 2 and "its digest is known when it is built" in err
    assert cli("build", "-o", f"type=oci,dest={tmp_path}/a.tar,name={lie}", context)[0] == 2
    for command in (("tag", "a:1", lie), ("copy", "store:a:1", f"store:{lie}")):
        code, _, err = cli(*command)
        assert code == 2 and "the image is sha256:" in err
    name = json.loads(cli("inspect", "a:1")[1])[0]["Descriptor"]["digest"]
    assert cli("tag", "a:1", f"127.0.0.1:1/true@{name}")[0] == 0
    folder = tmp_path / "layout"
    assert cli("copy", "store:a:1", f"oci:{folder}:a")[0] == 0
    index = json.loads((folder / "index.json").read_text())
    for key in ("org.opencontainers.image.ref.name", "io.containerd.image.name"):
        index["manifests"][0].setdefault("annotations", {})[key] = lie
    (folder / "index.json").write_text(json.dumps(index))
    with tarfile.open(tmp_path / "archive.tar", "w") as archive:
        archive.add(folder, ".")
    code, out, _ = cli("--root", tmp_path / "other", "load", "-i", tmp_path / "archive.tar")
    assert code == 0 and "lie" not in out
    (context / "Dockerfile").write_text(f"FROM {lie}\n")
    assert cli("--root", tmp_path / "other", "build", context)[0] == 1


def test_a_dockerfile_that_is_elsewhere_is_told(cli, context, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (context / "Dockerfile").rename(context / "Dockerfile.dev")
    assert "hint: there is Dockerfile.dev: write -f context/Dockerfile.dev\n" in cli("build", "context")[2]
    found = cli("build", "-f", "Dockerfile.dev", "context")[2]
    assert "hint: -f is a path from where you are, not from the context: write -f context/Dockerfile.dev\n" in found
    assert (
        "hint: there is Dockerfile.dev: write -f context/Dockerfile.dev\n"
        in cli("build", "-f", "context/Dockerfile.de", "context")[2]
    )
    (context / "Dockerfile.dev").rename(context / "Containerfile")
    monkeypatch.chdir(context)
    assert "hint: there is Containerfile: write -f ./Containerfile\n" in cli("build", ".")[2]
    (context / "Dockerfile").mkdir()
    assert "Is a directory\nhint: name it with -f FILE" in cli("build", ".")[2]


def test_what_comes_from_the_environment_is_told(cli, context, monkeypatch):
    monkeypatch.setenv("BUILDKIT_PROGRESS", "loud")
    code, _, err = cli("build", context)
    assert code == 2 and "hint: it comes from the variable BUILDKIT_PROGRESS\n" in err
    assert "hint" not in cli("build", "--progress", "louder", context)[2]


def test_a_folder_that_is_gone_is_told(cli, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, err = cli("build", ".")
    assert code == 1 and "hint: the folder that you are in may be gone" in err


def test_standard_output_is_for_an_archive_alone(cli, context, monkeypatch):
    code, _, err = cli("build", "-o", "type=local,dest=-", context)
    assert code == 2 and "standard output is none" in err
    done = subprocess.run([*COMMAND, "build", "-q", "-o", "-", context], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert archive.getnames() == ["a"]
    assert done.stdout.endswith(bytes(1024))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, _, err = cli("build", "-o", "-", context)
    assert code == 2 and "an archive does not go to a terminal" in err


def test_no_dockerfile_drives_the_terminal(cli, context, monkeypatch):
    (context / "Dockerfile").write_text("FROM scratch\nARG \x1b[31mpw\nLABEL a=\x1b[2J\nMAINTAINER \x1b[31mme\n")
    assert cli("build", "-t", "a:1", "--build-arg", "\x1b[31mp=1", context)[0] == 0
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    for command in (["plan", context], ["history", "a:1"], ["build", "--call=outline", context], ["lint", context], ["why"]):
        assert "\x1b" not in "".join(cli(*command)[1:]), command
    for progress in ("plain", "tty", "quiet"):
        shown = cli("build", "--progress", progress, "--build-arg", "\x1b[31mp=1", context)[2]
        assert "no ARG of this name" in shown and "\x1b[31m" not in shown


def test_a_config_is_json_whatever_the_dockerfile_has(cli, context):
    (context / "Dockerfile").write_bytes(b'FROM scratch\nMAINTAINER J\xf6rg\nENV A=\xe4\xb8x B=\xc3\xb6\nCMD ["/\xff"]\n')
    assert cli("build", "-t", "a:1", context)[0] == 0
    found = json.loads(cli("inspect", "a:1")[1])[0]
    assert found["Author"] == "J\ufffdrg" and found["Config"]["Env"][1:] == [
        "A=\ufffd\ufffdx",
        "B=\N{LATIN SMALL LETTER O WITH DIAERESIS}",
    ]
    assert found["Config"]["Cmd"] == ["/\ufffd"]
    assert cli("images", "-q")[1] == found["Id"][7:19] + "\n"
    (context / "Dockerfile").write_text("FROM a:1\n")
    assert cli("build", context)[0] == 0


def test_a_folder_is_no_archive(cli, context, tmp_path):
    code, _, err = cli("build", "-o", f"type=oci,dest={tmp_path}", context)
    assert code == 1 and "is a folder" in err and "#1" not in err
    assert cli("build", "-o", "type=oci,dest=", context)[0] == 2


def test_a_device_and_a_link_are_written_through(cli, context, tmp_path):
    """Root's /dev/null and /dev/stdout stay what they are."""
    assert cli("build", "-t", "a:1", context)[0] == 0
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for number, (command, *rest) in enumerate([("save", "a:1", "-o"), ("copy", "store:a:1"), ("build", context, "-o")]):
        pipe = tmp_path / f"pipe{number}"
        os.mkfifo(pipe)
        for place in (pipe, tmp_path / "link"):
            target = {"copy": f"oci-archive:{place}", "build": f"type=oci,dest={place}"}.get(command, place)
            with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) if place == pipe else contextlib.nullcontext():
                assert cli(command, *rest, target)[0] == 0
            assert pipe.is_fifo() and (tmp_path / "link").is_symlink()
        assert tarfile.is_tarfile(tmp_path / "target")
        (tmp_path / "target").unlink()


ERRORS = [
    (("bild",), 2, "error: no such command: 'bild'\nhint: did you mean build?\n"),
    (("ls",), 2, "hint: 'pybuild images'\n"),
    (("system", "prune"), 2, "error: no such command: 'prune'\nhint: 'pybuild prune'\n"),
    (("ps",), 2, "hint: 'pybuild run' runs an image in the foreground"),
    (("build", "--dns", "1.1.1.1", "."), 2, "hint: 'pybuild build --help' lists what there is"),
    (("store", "verfy"), 2, "hint: did you mean verify?"),
    (("frobnicate",), 2, "hint: 'pybuild --help' lists what there is"),
    (("build",), 2, "error: missing argument 'CONTEXT'\nhint: write pybuild build [OPTIONS] CONTEXT\n"),
    (("build", "a", "b"), 2, "error: got unexpected extra argument (b)\nhint: write pybuild build [OPTIONS] CONTEXT\n"),
    (("build", "--tagg", "x", "."), 2, "error: pybuild build has no option --tagg\nhint: did you mean --tag?\n"),
    (
        ("build", "--load", "."),
        2,
        "hint: the image is in pybuild's store; 'pybuild save NAME | docker load' gives it to docker\n",
    ),
    (("build", "--root", "/x", "."), 2, "hint: it stands before the command: pybuild --root DIR"),
    (("build", "--pull=always", "."), 2, "error: invalid value for '--pull': 'always' is neither true nor false\n"),
    (("serve", "--port", "80x"), 2, "error: invalid value for '--port': '80x' is not a whole number\n"),
    (("run", "-p", "80:80", "x"), 2, "hint: the container has this machine's network"),
    (("run", "--rm=true", "x"), 2, "error: option '--rm' does not take a value\n"),
    (("build", "-t", "UPPER", "{context}"), 2, "names are lower case: 'upper'"),
    (("build", "-t", "UPPER/Case:V1", "{context}"), 2, "names are lower case: 'upper/case:V1'"),
    (("build", "-t", "a:b:c", "{context}"), 2, "invalid image name"),
    (("build", "/nowhere"), 1, "no such folder: /nowhere"),
    (("build", "{context}/a"), 1, "not a folder"),
    (("build", "-f", "/nowhere/Dockerfile", "{context}"), 1, "no Dockerfile: /nowhere/Dockerfile"),
    (("build", "--build-arg", "=x", "{context}"), 2, "has no name"),
    (("build", "--build-context", "x", "{context}"), 2, "has no value"),
    (("build", "--build-context", "x=ftp://y", "{context}"), 1, "not a context: ftp://y"),
    (("build", "--build-context", "scr=oci-layout:///nowhere", "{context}"), 0, ""),
    (("build", "--target", "x", "{context}"), 2, 'no stage named "x"'),
    (("build", "--platform", "x", "{context}"), 2, "not a platform"),
    (("build", "--compression", "lzma", "{context}"), 2, "no such compression: 'lzma'"),
    (("build", "-o", "type=zip,dest=x", "{context}"), 2, "no such output type: zip"),
    (("build", "-o", "type=oci", "{context}"), 2, "needs a destination"),
    (("build", "-o", "type=oci,dest=/nowhere/x", "{context}"), 1, "no such folder: /nowhere"),
    (
        ("build", "--iidfile", "/nowhere/x", "{context}"),
        1,
        "no such folder: /nowhere\nhint: make it, or choose another --iidfile",
    ),
    (("build", "--timeline", "/nowhere/x", "{context}"), 1, "no such folder: /nowhere"),
    (("build", "--platform", "linux/amd64,linux/arm64", "{context}"), 2, "hint: build for one after the other"),
    (("build", "--push", "{context}"), 2, "nothing to push"),
    (("save", "-o", "/nowhere/x", "nothing"), 1, "no such folder: /nowhere"),
    (("build", "--progress", "loud", "{context}"), 2, "'loud'"),
    (("push", "nothing"), 1, "no such image: nothing"),
    (("push", "127.0.0.1:1/x"), 1, "no such image"),
    (("pull", "127.0.0.1:1/x"), 1, "127.0.0.1:1"),
    (("pull", "a@sha256:12"), 2, "not a digest"),
    (("inspect", "nothing"), 1, "no such image"),
    (("inspect",), 2, "missing argument"),
    (("tag", "nothing", "x"), 1, "no such image"),
    (("rmi", "nothing"), 1, "no such image"),
    (("load", "-i", "/nowhere"), 1, "/nowhere: No such file or directory"),
    (("load", "-i", "{context}/a"), 1, ""),
    (("images", "--format", "{{{{.Nope}}}}"), 0, ""),
    (("images", "-f", "colour=red"), 2, "no filter 'colour'; there are dangling and reference"),
    (("images", "-f", "dangling"), 2, "'dangling' has no value; write NAME=VALUE"),
    (("images", "-f", "dangling=perhaps"), 2, "neither true nor false"),
    (("images", "-f", "reference=[a"), 2, "'[a' is not a pattern"),
    (("run", "nothing"), 1, "no such image"),
    (("--root", "/dev/null/x", "images"), 1, "cannot make a store"),
    (("--root", "{context}/a", "images"), 1, "hint: set PYBUILD_ROOT to a folder of yours"),
]


@pytest.mark.root
@pytest.mark.parametrize(
    ("arguments", "code", "message"), ERRORS, ids=lambda value: " ".join(value) if isinstance(value, tuple) else None
)
def test_errors_say_what_and_give_their_code(cli, context, arguments, code, message):
    found, _, err = cli(*(argument.format(context=context) for argument in arguments))
    assert found == code
    assert message in err
    assert "Traceback" not in err and "mistake in pybuild" not in err


def test_a_base_that_is_here_for_another_platform_is_told(cli, context):
    assert cli("build", "-t", "127.0.0.1:1/base", context)[0] == 0
    (context / "Dockerfile").write_text("FROM 127.0.0.1:1/base\n")
    for command in ("build", "plan"):
        code, _, err = cli(command, "--platform", "linux/riscv64", context)
        assert code == 1 and "cannot reach 127.0.0.1:1" in err
        assert "and asked for is linux/riscv64: build it for that" in err
    code, _, err = cli("build", "--pull", context)
    assert code == 1 and "asked for" not in err


def test_what_a_build_leaves_for_scripts(cli, context, tmp_path):
    identity, about = tmp_path / "id", tmp_path / "about.json"
    files = ("--iidfile", identity, "--metadata-file", about)
    assert cli("build", "-t", "a:1", "-t", "b", *files, context)[0] == 0
    found = json.loads(about.read_text())
    image = json.loads(cli("inspect", "a:1")[1])[0]
    assert identity.read_text() == image["Id"] == found["containerimage.config.digest"]
    assert found["containerimage.descriptor"] == image["Descriptor"]
    assert found["containerimage.digest"] == image["Descriptor"]["digest"]
    assert found["image.name"] == "docker.io/library/a:1,docker.io/library/b:latest"
    (context / "a").unlink()
    assert cli("build", *files, context)[0] == 1
    assert not identity.exists() and not about.exists()
    about.write_text("")
    identity.symlink_to(about)
    assert cli("build", "--iidfile", "/dev/null", "--metadata-file", identity, context)[0] == 1
    assert identity.is_symlink() and about.exists()


def test_a_flag_of_build_may_have_a_value(cli, context):
    identity = cli("build", "-q", context)[1]
    assert cli("build", "-q", "--pull=false", "--no-cache=0", "--quiet=true", context)[:2] == (0, identity)
    assert "CACHED" not in cli("build", "--no-cache=true", context)[2]
    assert "built a:1" in cli("build", "-t=a:1", f"-f={context}/Dockerfile", context)[2]
    assert cli("build", "-q=false", context)[1] == ""


def test_what_is_told_of_habits_is_true_of_what_is_there(cli):
    for name, options in OPTIONS.items():
        there = [*COMMANDS] if not name else [name]
        for option in options:
            assert all(f" {option} " not in cli(command, "--help")[1] for command in there if option != "--authfile"), (
                name,
                option,
            )
    for name in COMMAND_HABITS:
        assert name.split()[0] not in COMMANDS or name == "system prune"


def test_a_mistake_of_ours_is_one_line_too(cli, context, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("oh")

    monkeypatch.setattr("pybuild.api.build", broken)
    code, _, err = cli("build", context)
    assert code == 1 and "a mistake in pybuild: RuntimeError: oh" in err


def test_json_progress_is_json(cli, context):
    lines = [json.loads(line) for line in cli("build", "--progress", "json", context)[2].splitlines()]
    assert {"StepStarted", "StepFinished", "Finished"} <= {line["event"] for line in lines}


def test_an_archive_goes_to_standard_output(context, tmp_path, monkeypatch):
    class Out:
        buffer = io.BytesIO()

        def isatty(self):
            return False

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Out())
    assert run(["build", "-o", "type=oci,dest=-", "--progress", "quiet", str(context)]) == 0
    assert Out.buffer.getvalue()[:10] == b"oci-layout" or b"oci-layout" in Out.buffer.getvalue()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("-t", "A B"), "a name has lower-case letters and digits"),
        (("--build-context", "x=/nowhere"), "it is what --build-context x=/nowhere names"),
        (("--compression", "gzip:77"), "there are 1 to 9"),
    ],
)
def test_hints_fit_what_was_wrong(cli, context, arguments, hint):
    assert hint in cli("build", *arguments, context)[2]


def test_all_that_is_wrong_with_a_dockerfile_is_told_at_once(cli, context, monkeypatch):
    monkeypatch.chdir(context)
    (context / "Dockerfile").write_text("FROM scratch\nRUM x\nCOPY a b\nUSRE y\n")
    code, _, err = cli("build", ".")
    assert code == 2
    assert err == (
        "error: Dockerfile:2:1: unknown instruction: RUM\n    RUM x\n    ~~~\nhint: did you mean RUN?\n"
        "error: Dockerfile:4:1: unknown instruction: USRE\n    USRE y\n    ~~~~\nhint: did you mean USER?\n"
        "2 errors\n"
    )


@pytest.mark.slow
def test_streams_that_do_not_wait_lose_nothing_and_stay_as_they_are(tmp_path):
    """As those that node gives to what it starts: its reader is slower than we are."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n" + f"LABEL a={'b' * 990}\n" * 100)
    source, end = os.pipe()
    os.set_blocking(end, False)
    with open(source, "rb") as stream:
        process = subprocess.Popen([*COMMAND, "parse", tmp_path], stdout=end, stderr=end)
        # What has room is there, and no more.
        select.select([source], [], [], 20)
        time.sleep(0.2)
        assert not os.get_blocking(end)
        os.close(end)
        text = stream.read().decode()
    assert process.wait() == 0 and text.count("\n") == 101, text[-200:]


@pytest.mark.parametrize(("arguments", "code"), [(["--nope"], 2), (["build", "/nowhere"], 1)])
def test_the_exit_code_is_right_where_there_is_no_room_for_words(arguments, code):
    with open("/dev/full", "wb") as full:
        assert subprocess.run([*COMMAND, *arguments], stdout=full, stderr=full, check=False).returncode == code
