from pathlib import Path

import pytest

from harness.emco.inputs import InputError
from harness.emco.workload import read_workload

HEAD = "version: emco/v2\nresourceContext:\n  anchor: "


def write(folder: Path, text: str, name: str = "w.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_reads_documents_with_values_files_and_labels(tmp_path: Path) -> None:
    (tmp_path / "chart.tgz").write_bytes(b"chart")
    values = write(tmp_path, "P: p1\nApps: [a, b]\n", "v.yaml")
    text = (
        f"{HEAD}projects\nmetadata:\n  name: {{{{ .P }}}}\n"
        "{{- range $i, $a := .Apps }}\n---\n"
        f"{HEAD}projects/{{{{ $.P }}}}/composite-apps/ca/v1/apps\nmetadata: {{name: {{{{ $a }}}}, other: dropped}}\n"
        "file: chart.tgz\n{{- end }}\n---\n"
        f"{HEAD}cluster-providers/cp/clusters/c/labels\nclusterLabel: edge\n---\n"
        f"{HEAD}projects/p1/logical-clouds/lc/instantiate\n"
    )
    workload = read_workload(write(tmp_path, text), values)
    project, first, second, label, run = workload.documents
    assert (project.service, project.body) == ("orchestrator", {"metadata": {"name": "p1"}})
    assert (first.name, second.name) == ("a", "b")
    assert first.body == {"metadata": {"name": "a"}}
    assert [(part.form_field, part.filename, part.content) for part in second.files] == [
        ("file", "chart.tgz", b"chart")
    ]
    assert (label.name, label.body, label.service) == ("edge", {"clusterLabel": "edge"}, "clm")
    assert (run.verb, run.service, run.body) == ("instantiate", "dcm", {})


def test_scalars_are_read_as_go_reads_them(tmp_path: Path) -> None:
    spec = "spec: {a: no, b: on, c: 12:30, d: 1e3, e: 007, f: 0x10, g: 2022-01-01, h: true, i: ~, j: '5'}"
    workload = read_workload(write(tmp_path, f"{HEAD}projects\nmetadata: {{name: 007}}\n{spec}\n"))
    assert workload.documents[0].name == "007"
    assert workload.documents[0].spec == {
        "a": "no", "b": "on", "c": "12:30", "d": 1000.0, "e": 7, "f": 16,
        "g": "2022-01-01", "h": True, "i": None, "j": "5",
    }  # fmt: skip


def test_tabs_before_flow_content_are_taken(tmp_path: Path) -> None:
    text = f'{HEAD}projects\nmetadata: {{name: p}}\nspec:\n  patch: [\n    {{\n\t    "op": "add",\n\t  }},\n\t]\n'
    assert read_workload(write(tmp_path, text)).documents[0].spec == {"patch": [{"op": "add"}]}


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("version: emco/v1\nresourceContext: {anchor: projects}\nmetadata: {name: p}\n", 1, "expected 'emco/v2'"),
        ("resourceContext: {anchor: projects}\nmetadata: {name: p}\n", 1, "expected 'emco/v2'"),
        (f"{HEAD}projects\nmetadata: {{name: p}}\nspecs: {{}}\n", 5, "unknown key 'specs'; expected version"),
        (f"{HEAD}projects\nmetadata: {{name: p}}\nmetadata: {{name: q}}\n", 5, "'metadata' is given twice"),
        (f"{HEAD}planets\nmetadata: {{name: p}}\n", 3, "no service is known for the anchor 'planets'"),
        (f"{HEAD}projects//x\nmetadata: {{name: p}}\n", 3, "is no path"),
        ("version: emco/v2\nmetadata: {name: p}\n", 1, "resourceContext.anchor is missing"),
        (f"{HEAD}projects\n", 1, "metadata.name is missing"),
        (f"{HEAD}projects\nmetadata:\n  name: a/b\n", 5, "has a slash"),
        (f"{HEAD}projects\nmetadata:\n  name: [a]\n", 5, "expected a text"),
        (f"{HEAD}projects\nmetadata: {{name: p}}\nspec: 3\n", 5, "spec is no mapping"),
        (f"{HEAD}projects/p/composite-apps\nmetadata: {{name: p}}\n", 1, "compositeAppVersion is missing"),
        (f"{HEAD}projects\nmetadata: {{name: p}}\nfile: gone.tgz\n", 5, "'gone.tgz' is neither beside the workload"),
        (f"{HEAD}projects\nmetadata: {{name: p}}\nfiles: gone\n", 5, "files is no list"),
        (f"{HEAD}projects\nmetadata: {{name: p}}\n---\n- 1\n", 6, "expected a mapping"),
        (f"{HEAD}projects\nmetadata: {{name: [}}\n", 4, "not YAML"),
        (f"{HEAD}projects\nmetadata:\n  name: {{{{ .P }}}}\n", 5, "expected a values file"),
        ("# nothing\n", 0, "no documents"),
    ],
)
def test_refuses_with_file_line_and_what_was_expected(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_workload(path)
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert words in str(caught.value)


def test_an_error_in_a_loop_names_the_line_of_the_source(tmp_path: Path) -> None:
    values = write(tmp_path, "L: [a, b, '']\n", "v.yaml")
    text = f"{{{{- range $x := .L }}}}\n---\n{HEAD}projects\nmetadata:\n  name: {{{{ $x }}}}\n{{{{- end }}}}\n"
    with pytest.raises(InputError, match=r"w\.yaml:6: metadata\.name is missing"):
        read_workload(write(tmp_path, text), values)


def test_a_kubeconfig_may_be_absent_only_where_the_harness_brings_the_edge(tmp_path: Path) -> None:
    path = write(tmp_path, f"{HEAD}cluster-providers/p/clusters\nmetadata: {{name: c}}\nfile: /gone/kubeconfig\n")
    assert read_workload(path).documents[0].files[0].filename == "kubeconfig"
    with pytest.raises(InputError, match=r":5: the file '/gone/kubeconfig' is neither"):
        read_workload(path, edges_provided=False)


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("updates: true\n", 1, "unknown key 'updates'; expected update, replace"),
        ("update: 3\n", 1, "expected a mapping"),
        ("calls:\n  - post: projects/p/x\n    put: projects/p/x\n", 2, "exactly one of post, put, delete"),
        ("calls:\n  - post: a\n    spce: {}\n", 3, "unknown key 'spce'"),
        ("calls:\n  - {post: a, before: b, after: c}\n", 2, "both before and after"),
        ("replace:\n  - metadata: {description: x}\n", 2, "'document' is missing"),
        ("replace:\n  - document: a\n    metadata:\n      name: x\n", 4, "unknown key 'name'"),
        ("refused:\n  - call: a\n    why: two words\n", 3, "becomes part of an id"),
        ("ladder:\n  a:\n    - name: x\n", 3, "'calls' is missing"),
    ],
)
def test_refuses_a_sidecar_with_file_and_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path, f"{HEAD}projects\nmetadata: {{name: p}}\n")
    sidecar = write(tmp_path, text, "w.chaos.yaml")
    with pytest.raises(InputError) as caught:
        read_workload(path)
    assert str(caught.value).startswith(f"{sidecar}:{line}: ")
    assert words in str(caught.value)


def test_unreadable_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: the file cannot be read: No such file"):
        read_workload(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_workload(tmp_path / "b.yaml")
