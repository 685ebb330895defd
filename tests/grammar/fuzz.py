"""Whatever the bytes, the outcome is a Dockerfile or a DockerfileError, soon and in little memory.

    python tests/grammar/fuzz.py --count 1000000 [--seed 1]

Inputs are made of bytes, of lines and of tokens, and of the golden Dockerfiles with such things put into them. What parses is
printed and parsed again, and has to say the same; every word of it is expanded. A failing input is printed, so that it becomes
a test.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pybuild.grammar import DockerfileError, Source, Span, WordError, expand, expand_text, parse, split
from pybuild.grammar.instructions import Dockerfile
from pybuild.grammar.lexer import FORMS
from pybuild.grammar.mounts import parse_mount
from pybuild.grammar.printing import document, print_dockerfile
from pybuild.values import field_names

GOLDEN = [path.read_bytes() for path in sorted(Path(__file__).parents[2].glob("fixtures/*/*/Dockerfile"))]
FLAGS = (
    *("--platform=linux/amd64", "--mount=type=cache,target=/x", "--mount=from=$x", '--mount="type=bind,source=a b"', "--mount=,"),
    *("--network=none", "--network=x", "--security=insecure", "--device=a/b=c", "--from=x", "--from='a b'", "--chown=1:$X"),
    *("--chmod=755", "--link", "--link=no", "--parents", "--exclude=a", "--exclude=", "--interval=3s", "--interval=1h1.5m"),
    *("--interval=-1s", "--timeout=.5s", "--retries=3", "--retries=+", "--", "--foo", '--"x"', "--fr\\om=x", "--from=a\\ b"),
)
WORDS = (
    *("a", "b/", "/c", "x=y", "A=1", 'B="q r"', "C='s t'", "D=e\\ f", "=", "=x", "$A", "${A:-b}", "${A/b/c}", "${A%%b*}", "${"),
    *("<<EOF", "<<-EOF", "<<'EOF'", '<<"E F"', "3<<A", "<<", "<< EOF", "<<<x", "[", "]", '["a"]', '["a", "b c"]', "['a']"),
    *('["a",1]', '["a"', "[]", "[1]", '["\\ud800"]', "[1e999]", "[NaN]", '["a",]', "AS", "as", "stage1", "1x", "NONE", "CMD"),
    *("80/udp", '"', "'", "\\", "`", "é", "\u00a0", "\u3000", "#", "a#b", '"a\\"b"', '\\"', '""', "\x00", "\x0c", "\ud83d"),
)
BLANKS = (" ", " ", " ", "  ", "\t", " \\\n", "\\\n", " \\ \n  ", " \\\n# c\n", " \\\n\n", "\r", " `\n", "\f", "\v")
ENDS = (
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\n\n",
    "\nEOF\n",
    "\nx\nEOF\n",
    "\n\tx\n\tEOF\n",
    "\r\nx\r\nEOF\r\n",
    "\\\n",
    " \\\n",
    "\n# c\n",
    "",
)
HEADS = (
    "",
    "",
    "",
    "# escape=`\n",
    "# escape=\\\n",
    "# syntax=docker/dockerfile:1\n",
    "# check=skip=all\n",
    "\ufeff",
    "#!/x\n",
    "\n",
    " # escape=`\n",
)
MARKS = (*"\\`'\"${}[]<>=#,:-+?%/*\n\r\t ", "${", "}", ":-", "##", "//", "\n\n", "\\\n")
ENV = {"A": "a b", "X": "", "B": "x/y*z"}


def bodies(rnd: random.Random) -> Iterator[bytes]:
    """Inputs without end."""
    makers = (_bytes, _lines, _tokens, _mutant, _mutant)
    while True:
        yield rnd.choice(makers)(rnd)


def _bytes(rnd: random.Random) -> bytes:
    start = rnd.choice((b"", b"FROM a\n", b"FROM a\nRUN "))
    return start + rnd.randbytes(rnd.randrange(60))


def _line(rnd: random.Random) -> str:
    keyword = rnd.choice(tuple(FORMS))
    keyword = rnd.choice((keyword, keyword, keyword, keyword.lower(), keyword[:-1]))
    parts = ["ONBUILD" + rnd.choice(BLANKS) + keyword if rnd.random() < 0.1 else keyword]
    parts += [rnd.choice(FLAGS) for _ in range(rnd.choice((0, 0, 0, 1, 2)))]
    parts += [rnd.choice(WORDS) for _ in range(rnd.choice((0, 1, 1, 2, 3)))]
    return "".join(part + rnd.choice(BLANKS) for part in parts) + rnd.choice(ENDS)


def _lines(rnd: random.Random) -> bytes:
    lines = "".join(_line(rnd) for _ in range(rnd.randrange(1, 4)))
    return (rnd.choice(HEADS) + rnd.choice(("FROM a\n", "FROM a AS b\n", "ARG A=1\nFROM a\n")) + lines).encode(
        "utf-8", "surrogatepass"
    )


def _tokens(rnd: random.Random) -> bytes:
    pieces = (*WORDS, *FLAGS, *MARKS, *FORMS, *BLANKS, *ENDS)
    text = "".join(rnd.choice(pieces) for _ in range(rnd.randrange(20)))
    return (rnd.choice(("", "FROM a\n", "FROM a\nENV A=", "FROM a\nCOPY ")) + text).encode("utf-8", "surrogatepass")


def _mutant(rnd: random.Random) -> bytes:
    text = rnd.choice(GOLDEN)
    for _ in range(rnd.randrange(1, 4)):
        place = rnd.randrange(len(text) + 1)
        end = min(len(text), place + rnd.choice((0, 0, 1, 1, 3, 10)))
        piece = (
            rnd.choice((*WORDS, *FLAGS, *MARKS, *FORMS)).encode("utf-8", "surrogatepass")
            if rnd.random() < 0.8
            else rnd.randbytes(2)
        )
        text = text[:place] + piece + text[end:]
    return text


def check(content: bytes) -> bool:
    """Whether the content is a Dockerfile. Raises whatever is not a DockerfileError with a place."""
    source = Source.of("Dockerfile", content)
    try:
        dockerfile = parse(source)
    except DockerfileError as error:
        for each in (error, *error.others):
            assert isinstance(each, DockerfileError) and each.message and str(each).startswith("Dockerfile:")
            assert 1 <= each.span.line <= source.text.count("\n") + 1 and each.span.column >= 1
        return False
    document(dockerfile)
    again = parse(Source("Dockerfile", print_dockerfile(dockerfile)))
    assert meaning(again) == meaning(dockerfile), print_dockerfile(dockerfile)
    for instruction in dockerfile.instructions:
        for word in (*instruction.args, *(body.raw for body in instruction.bodies)):
            for function in (expand, split, lambda text, env, escape: expand_text(text, env)):
                try:
                    function(word, ENV, escape=dockerfile.escape)
                except WordError as error:
                    assert str(error)
        for flag in instruction.flags:
            if flag.name == "mount" and flag.value is not None:
                try:
                    parse_mount(flag.value.text, span=flag.span)
                except WordError as error:
                    assert str(error)
    return True


def meaning(value: object) -> object:
    """A value without the places in it, and without what only says how it was written."""
    if isinstance(value, Dockerfile):
        return value.escape, meaning(value.arguments), meaning(value.stages)
    if isinstance(value, Span):
        return None
    if isinstance(value, tuple):
        return tuple(meaning(item) for item in value)
    if hasattr(value, "_fields"):
        names = field_names(value)
        hidden = ("original", "rest", "first_line", "last_line", "text") if hasattr(value, "keyword") else ()
        return type(value).__name__, *(meaning(getattr(value, name)) for name in names if name not in hidden)
    return value


def main() -> None:
    """The command line."""
    reader = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    reader.add_argument("--count", type=int, default=10_000)
    reader.add_argument("--seed", type=int, default=1)
    asked = reader.parse_args()
    rnd = random.Random(asked.seed)
    fine, slowest, begun = 0, 0.0, time.monotonic()
    for number, content in zip(range(asked.count), bodies(rnd), strict=False):
        started = time.monotonic()
        try:
            fine += check(content)
        except BaseException:
            print(f"input {number} of seed {asked.seed}: {content!r}", file=sys.stderr)
            raise
        slowest = max(slowest, time.monotonic() - started)
    # Not getrusage: what it says of a child begins with what its parent had.
    memory = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
    assert memory < 200, f"{memory} MB"
    seconds = time.monotonic() - begun
    print(
        f"{asked.count} inputs in {seconds:.0f} s, {fine} of them Dockerfiles; the slowest {slowest * 1000:.0f} ms; {memory} MB"
    )


if __name__ == "__main__":
    main()
