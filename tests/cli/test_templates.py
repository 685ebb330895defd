"""The part of Go's templates that docker's users write."""

from __future__ import annotations

import click
import pytest

from pybuild.cli.templates import Template, print_rows

VALUE = {
    "Id": "sha256:abc",
    "Size": 12,
    "Ok": True,
    "None": None,
    "Tags": ["a:1", "b:2"],
    "Config": {"Env": ["A=1", "B=2"], "Labels": {"x": "y", "k": "v"}, "Cmd": None},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.Id}}", "sha256:abc"),
        ("{{ .Id }}-{{.Size}}", "sha256:abc-12"),
        ("{{.Config.Env}}", "[A=1 B=2]"),
        ("{{.Config.Labels}}", "map[k:v x:y]"),
        ("{{.Ok}} {{.None}}", "true <nil>"),
        ("{{json .Config.Env}}", '["A=1","B=2"]'),
        ("{{.Config.Cmd | json}}", "null"),
        ('{{join .Tags ", "}}', "a:1, b:2"),
        ('{{index .Config.Labels "x"}}', "y"),
        ("{{index .Tags 1}}", "b:2"),
        ("{{len .Tags}}", "2"),
        ("{{upper .Id}} {{.Id | upper | lower}}", "SHA256:ABC sha256:abc"),
        ("{{range .Tags}}<{{.}}>{{end}}", "<a:1><b:2>"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "k=v;x=y;"),
        ("{{range .Config.Cmd}}x{{else}}none{{end}}", "none"),
        ("{{if .Config.Cmd}}yes{{else}}no{{end}}", "no"),
        ('{{if eq .Size 12}}twelve{{end}}{{if ne .Id "x"}}!{{end}}', "twelve!"),
        ("{{with .Config}}{{.Env}}{{end}}", "[A=1 B=2]"),
        ("a {{- .Size -}} b", "a12b"),
        (r"{{.Id}}\t{{.Size}}", "sha256:abc\t12"),
        ("{{range .Tags}}{{$.Size}}{{end}}", "1212"),
        ("plain", "plain"),
        ("{{json (index .Tags 0)}}", '"a:1"'),
        ("{{if .Config.Cmd}}1{{else if .Config.Labels}}2{{else}}3{{end}}!", "2!"),
        ("{{if .Config.Cmd}}1{{else if .None}}2{{else}}3{{end}}!", "3!"),
        ("{{if .Id}}1{{else if .Id}}2{{else}}3{{end}}!", "1!"),
        ("{{with .None}}1{{else with .Config}}{{len .Env}}{{end}}!", "2!"),
        ('{{range .Tags}}{{if eq . "a:1"}}A{{else if eq . "b:2"}}B{{end}}{{end}}', "AB"),
        ('{{or .None .Config.Cmd "x"}} {{and .Id .Size}}', "x 12"),
        ('{{printf "%s is %d%%" .Id .Size}} {{printf "%-6v|%q" .Size .Id}}', 'sha256:abc is 12% 12    |"sha256:abc"'),
        ("{{$.Id}}{{/* said nowhere */}}", "sha256:abc"),
    ],
)
def test_renders_as_go_does(template, expected):
    assert Template(template).render(VALUE) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Idd}}", "did you mean .Id?"),
        ("{{.Nothing}}", "there are Id"),
        ("{{.Size.X}}", "there is no X"),
        ("{{if .Id}}", "without an {{end}}"),
        ("{{end}}", "without an if"),
        ("{{.Id", "{{ without }}"),
        ("{{jsn .Id}}", "did you mean 'json'?"),
        ("{{join .Tags}}", "wrong number"),
        ("{{.Id )}}", "cannot read"),
        ("{{if .Id}}a{{else}}b{{else}}c{{end}}", "{{else}} behind {{else}}"),
        ("{{range .Tags}}a{{else range .Tags}}b{{end}}", "cannot read"),
        ('{{"\\x"}}', "cannot read"),
        ('{{printf "%s"}}', "wrong number"),
        ("{{" + "1" * 5000 + "}}", "no function"),
    ],
)
def test_a_wrong_template_says_what_is_wrong(template, message):
    with pytest.raises(click.UsageError) as caught:
        Template(template).render(VALUE)
    assert message in str(caught.value)


ROWS = [{"ID": "1", "Repository": "long/name"}, {"ID": "22", "Repository": "x"}]


@pytest.mark.parametrize(
    ("template", "lines"),
    [
        (None, ["REPO        ID", "long/name   1", "x           22"]),
        ("table {{.ID}}\t{{.Repository}}", ["ID   REPO", "1    long/name", "22   x"]),
        ("{{.ID}}", ["1", "22"]),
        ("json", ['{"ID": "1", "Repository": "long/name"}', '{"ID": "22", "Repository": "x"}']),
    ],
)
def test_rows(capsys, template, lines):
    print_rows(ROWS, template, ("Repository", "ID"), {"Repository": "REPO", "ID": "ID"})
    assert capsys.readouterr().out.splitlines() == lines


def test_an_empty_table_has_a_head(capsys):
    print_rows([], None, ("Repository", "ID"), {"Repository": "REPO", "ID": "ID"})
    assert capsys.readouterr().out == "REPO   ID\n"
