import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.emco.inputs import InputError
from harness.emco.template import render

VALUES = {
    "A": "one",
    "N": 7,
    "On": True,
    "Off": False,
    "B": {"C": "deep"},
    "Empty": [],
    "L": [{"Name": "x", "In": ["p", "q"]}, {"Name": "y", "In": []}],
    "Null": None,
}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("{{ .A }}-{{.N}}-{{ $.A }}-{{ .B.C }}", "one-7-one-deep"),
        ("{{ .On }} {{ .Off }}", "true false"),
        ("a  {{- .A -}}  b", "aoneb"),
        ("a {{/* a comment }} in it */}}b", "a b"),
        ("a\n{{- /* gone */ -}}\n b", "ab"),
        ("{{ range .Empty }}x{{ else }}none{{ end }}", "none"),
        ("{{ range $i, $c := .L }}{{ $i }}{{ $c.Name }}{{ .Name }}{{ $.A }};{{ end }}", "0xxone;1yyone;"),
        ("{{ range $c := .L }}{{ range $d := $c.In }}{{ $c.Name }}{{ $d }} {{ end }}{{ end }}", "xp xq "),
        ("{{ range $k, $v := .B }}{{ $k }}={{ $v }}{{ end }}", "C=deep"),
        ("{{ if .A }}yes{{ else }}no{{ end }}", "yes"),
        ("{{ if .Empty }}yes{{ else }}no{{ end }}", "no"),
        ("{{ if .Missing }}yes{{ else }}no{{ end }}", "no"),
        ("{{ if not .Missing }}yes{{ end }}", "yes"),
        ("{{ if .Missing }}{{ .Missing }}{{ end }}", ""),
    ],
)
def test_renders_as_go_does(text: str, expected: str) -> None:
    assert render(text, VALUES, file="w.yaml").text == expected


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("a\n{{ .Missing }}", 2, "nothing for .Missing"),
        ("a\n\n{{ .B.D }}", 3, "nothing for .B.D"),
        ("{{ .A.B }}", 1, "no names"),
        ("{{ .Null }}", 1, "nothing for .Null"),
        ("{{ .L }}", 1, "expected a single value"),
        ("\n{{ range .A }}{{ end }}", 2, "not a list"),
        ("{{ range .Missing }}{{ end }}", 1, "nothing for .Missing"),
        ("{{ $x }}", 1, "$x is not defined"),
        ("{{ .A | quote }}", 1, "not understood; expected"),
        ('{{ template "x" }}', 1, "not understood; expected"),
        ("{{ if eq .A .B }}{{ end }}", 1, "not understood; expected"),
        ("{{ }}", 1, "not understood; expected"),
        ("\n{{ if .A }}\n", 2, "never closed"),
        ("\n{{ end }}", 2, "closes nothing"),
        ("{{ else }}", 1, "without an open"),
        ("{{ if .A }}{{ else }}{{ else }}{{ end }}", 1, "without an open"),
        ("a\n{{ .A", 2, "never closed; expected }}"),
    ],
)
def test_refuses_with_file_and_line(text: str, line: int, words: str) -> None:
    with pytest.raises(InputError) as caught:
        render(text, VALUES, file="w.yaml")
    assert str(caught.value).startswith(f"w.yaml:{line}: ")
    assert words in str(caught.value)


def test_lines_of_the_output_know_where_they_came_from() -> None:
    rendered = render("a\n{{- range .L }}\nb: {{ .Name }}\n{{- end }}\nc\n", VALUES, file="w.yaml")
    assert rendered.text.split("\n") == ["a", "b: x", "b: y", "c", ""]
    assert rendered.lines[:4] == (1, 3, 3, 5)


@given(st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"])))
def test_text_without_actions_stays_as_it_is(text: str) -> None:
    rendered = render(text, {}, file="w.yaml")
    assert rendered.text == text
    assert rendered.lines == tuple(range(1, text.count("\n") + 2))
