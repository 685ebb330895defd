"""What a COPY that cannot be done says, to the letter: what is missing and where, what is near, which line hides it."""

from __future__ import annotations

import pytest

CONTEXT = {"src__main__c": "", "src__other": "", "README.md": "", "f": "", "d__one": "", "hidden.log": "", "logs__kept": ""}


@pytest.mark.parametrize(
    ("line", "ignored", "message", "hint"),
    [
        ("COPY READNE.md /", "", "READNE.md: not found in the context", "did you mean README.md?"),
        ("COPY src/maim /", "", "src/maim: not found in the context", "did you mean src/main?"),
        ("COPY scr/main /", "", "scr/main: not found in the context", "there is no directory scr; did you mean src?"),
        (
            "COPY ./src/../../zzz /",
            "",
            "zzz: not found in the context",
            "'..' does not lead out of it: take a folder further up, or give the other as --build-context NAME=DIR",
        ),
        ("COPY f/x /", "", "f/x: not found in the context", "f is no directory"),
        ("COPY src/zzz /", "", "src/zzz: not found in the context", "src has: main, other"),
        (
            "COPY zzz/* /x/",
            "",
            "zzz: not found in the context",
            "the top has: .dockerignore, Dockerfile, README.md, d, f, hidden.log, logs, src",
        ),
        (
            "COPY hidden.log /",
            "*.log\n",
            "hidden.log: excluded from the context by .dockerignore:1 (*.log)",
            "add '!hidden.log' behind that line",
        ),
        (
            "COPY --parents logs/kept /",
            "# x\nlogs\n",
            "logs/kept: excluded from the context by .dockerignore:2 (logs)",
            "add '!logs/kept' behind that line",
        ),
        ("COPY --from=made /etc/passwd /", "", "etc/passwd: not found in stage made", "there is no directory etc"),
        ("COPY --from=other nome /", "", "nome: not found in the context other", "did you mean name?"),
        ("COPY --parents src/x/y /", "", "src/x/y: not found in the context", "there is no directory src/x"),
        ("COPY src[ /", "", "not a pattern: src[", "close the '[' with a ']'"),
        ("COPY --exclude=a[ src /", "", "--exclude: not a pattern: a[", "close the '[' with a ']'"),
        ("COPY d /made/f", "", "/made/f is no directory in the image", "choose another destination"),
        ("COPY f /made/f/", "", "/made/f is no directory in the image", "choose another destination"),
        (
            "COPY --chown=nobody f /",
            "",
            "--chown: no user 'nobody' in the image's /etc/passwd",
            "create it in a RUN before, or give a uid",
        ),
        ("COPY *d /x", "", "3 sources, and the destination /x is a single name", "write /x/ to copy into a directory"),
    ],
)
def test_an_error(pybuild, context, tmp_path, line, ignored, message, hint):
    other = tmp_path / "other"
    other.mkdir()
    (other / "name").write_text("")
    files = {name.replace("main__c", "main"): text for name, text in CONTEXT.items()}
    folder = context(
        f"FROM scratch AS made\nCOPY f /f\nFROM scratch\nCOPY f /made/\n{line}\n", _dot_dockerignore=ignored, **files
    )
    if line.startswith("COPY *d"):
        (folder / "dd").write_text("")
    said = pybuild("build", "--build-context", f"other={other}", folder, code=1).err
    marks = "~" * len(line)
    assert said[said.index("error: ") :] == f"error: {folder}/Dockerfile:5:1: {message}\n    {line}\n    {marks}\nhint: {hint}\n"
