"""Each rule, firing and silent: a golden folder for each case, and the examples of each rule's page.

A case is a folder in fixtures/lint: `Dockerfile`, `found.txt` and `found.json`, `mended` when there is something to mend; and, if it
has to, `options.json` (build_args, target) and `dockerignore`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pybuild.builder.contexts.ignore import Ignore
from pybuild.builder.lint import BY_NAME, RULES, Known, Report, base_key, images_of, lint
from pybuild.builder.lint.mending import mend, text_of
from pybuild.grammar import DockerfileError, Source, parse
from pybuild.registry import ImageConfig, Platform, RunConfig
from pybuild.reports import Checked, as_json, as_text

ROOT = Path(__file__).parents[3]
CASES = sorted(path.parent for path in ROOT.glob("fixtures/lint/*/Dockerfile"))
HERE, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
BASES = {
    "base": ImageConfig(HERE, RunConfig(env=("PATH=/bin", "BASE=yes"), working_dir="/srv")),
    "shell": ImageConfig(HERE, RunConfig(shell=("/bin/bash", "-c"))),
    "trigger": ImageConfig(HERE, RunConfig(on_build=("ENV fired=1", "COPY $nothing /", "CMD x", "not an instruction"))),
    "arm": ImageConfig(ARM, RunConfig(working_dir="/")),
    "image-for-arm64": ImageConfig(ARM, RunConfig()),
}


def linted(text: str, *, ignore: str | None = None, **options) -> Report:
    known = Known(
        HERE,
        tuple(options.get("build_args", {}).items()),
        options.get("target"),
        BASES,
        Ignore.parse(ignore, ".dockerignore") if ignore else None,
    )
    return lint(parse(Source("Dockerfile", text)), known)


def test_a_number_that_is_none_of_a_stage_is_no_error():
    name = "1" * 5000
    found = linted(f"FROM scratch\nCOPY --from={name} a b\nRUN --mount=from={name},target=/x y\n", target=name)
    assert found.findings == ()


def test_there_are_cases():
    assert len(CASES) >= 30


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, golden, request: pytest.FixtureRequest):
    content = (case / "Dockerfile").read_bytes()
    options = json.loads((case / "options.json").read_text()) if (case / "options.json").exists() else {}
    ignore = (case / "dockerignore").read_text() if (case / "dockerignore").exists() else None

    def report(text: str) -> Report:
        return linted(text, ignore=ignore, **options)

    found, text = report(text_of(content)), text_of(content)
    mended = mend(content, lambda changed: report(changed).findings)
    checked = Checked(Source("Dockerfile", text), found, mended.count)
    unknown = "".join(f"unknown: {image}\n" for image in found.unknown)
    golden(case / "found.txt", as_text([checked]) + unknown)
    golden(case / "found.json", as_json([checked]))
    if mended.content != content:
        # As bytes: text would lose its line ends.
        if request.config.getoption("--update-golden"):
            (case / "mended").write_bytes(mended.content)
        assert mended.content == (case / "mended").read_bytes()
    else:
        assert not (case / "mended").exists()


def test_every_rule_fires_in_some_case():
    fired = {item["rule"] for case in CASES for item in json.loads((case / "found.json").read_text())["findings"]}
    assert fired == set(BY_NAME)


def test_the_rules_are_those_of_buildkit():
    assert len(RULES) == len(BY_NAME) == 22
    assert [rule.name for rule in RULES if rule.is_experimental] == ["InvalidDefinitionDescription"]
    assert BY_NAME["JSONArgsRecommended"].url.endswith("/json-args-recommended/")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_page_of_a_rule_shows_what_it_finds_and_what_it_likes(rule):
    text = (ROOT / rule.page).read_text(encoding="utf-8")
    assert text.startswith(f"# {rule.name}\n")
    ignore = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL)) or None
    bad, good = re.findall(r"```dockerfile\n(.*?)```", text, re.DOTALL)
    assert rule.name in {finding.rule for finding in linted(bad, ignore=ignore).findings}
    assert rule.name not in {finding.rule for finding in linted(good, ignore=ignore).findings}
    fix = text.partition("## --fix\n\n")[2]
    assert fix.startswith("Nothing") is not rule.is_mended
    if rule.is_mended:
        mended = mend(bad.encode(), lambda changed: linted(changed, ignore=ignore).findings)
        assert rule.name not in {finding.rule for finding in linted(mended.content.decode()).findings}


def test_there_is_a_page_for_every_rule_and_no_other():
    assert {path.stem for path in (ROOT / "docs/rules").iterdir()} == set(BY_NAME)


def test_a_directive_that_cannot_be_read_is_an_error_with_its_place():
    with pytest.raises(DockerfileError, match="Dockerfile:2:1: 'never' is no option of check"):
        linted("# syntax=x\n# check=never\nFROM scratch\n")


def test_the_images_of_a_file_are_named_once_and_stages_are_none():
    text = "ARG x=b\nFROM a AS s\nFROM s\nCOPY --from=s . .\nCOPY --from=c . .\nCOPY --from=0 . .\nFROM --platform=linux/arm64 $x\nFROM scratch\nRUN --mount=from=c,target=/x y\n"
    assert images_of(parse(Source("Dockerfile", text)), Known(HERE)) == (("a", HERE), ("c", HERE), ("b", ARM))


def test_an_image_is_known_for_each_platform_by_itself():
    text = "FROM --platform=linux/arm64 two AS arm64\nCOPY $ARM $HERE /\nFROM two\nCOPY $ARM $HERE /\nCOPY --from=two . .\n"
    bases = {
        base_key("two", HERE): ImageConfig(HERE, RunConfig(env=("HERE=1",))),
        base_key("two", ARM): ImageConfig(ARM, RunConfig(env=("ARM=1",))),
    }
    found = lint(parse(Source("Dockerfile", text)), Known(HERE, bases=bases)).findings
    assert [(finding.span.line, finding.message.split(" ")[0]) for finding in found] == [(2, "$HERE"), (4, "$ARM")]


def test_named_folders_are_no_images_and_have_no_environment():
    dockerfile = parse(Source("Dockerfile", "FROM scratch\nCOPY --from=docs . .\nFROM docs\nCOPY $x .\n"))
    known = Known(HERE, folders=("docs",))
    assert images_of(dockerfile, known) == ()
    assert [finding.rule for finding in lint(dockerfile, known).findings] == ["UndefinedVar"]


def test_a_thousand_stages_take_no_long_time():
    text = "".join(f"FROM {'scratch' if n == 0 else f's{n - 1}'} AS s{n}\nENV v{n}=$v{n}\n" for n in range(300))
    assert len(linted(text).findings) == 300
