"""Workloads: the emcoctl YAML files that EMCO's users already have, read strictly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.emco.inputs import InputError, Rendered, YamlDocument, plain, read_yaml
from harness.emco.services import LIFECYCLE_VERBS, ServiceRouting, UnknownAnchorError
from harness.emco.sidecar import Sidecar, parse_sidecar
from harness.emco.template import render

VERSION = "emco/v2"
_KEYS = ("version", "resourceContext", "metadata", "spec", "file", "files", "clusterLabel")
_METADATA = ("name", "description", "userData1", "userData2")  # emcoctl sends no other ones


@dataclass(frozen=True, slots=True)
class FilePart:
    """One file of a multipart call: the form field, the file's name, its bytes."""

    form_field: str
    filename: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a workload: one call of emcoctl apply.

    line:     line of the source file at which it begins
    anchor:   path under /v2/, without slashes at its ends
    metadata: as it is sent; None when the document has none
    extra:    what else the body holds (clusterLabel)
    service:  the service that the anchor belongs to
    """

    index: int
    file: str
    line: int
    anchor: str
    metadata: Mapping[str, Any] | None
    spec: Mapping[str, Any] | None
    extra: Mapping[str, Any]
    files: tuple[FilePart, ...]
    service: str

    @property
    def verb(self) -> str | None:
        """The lifecycle verb that the anchor ends in; None for a resource."""
        last = self.anchor.rsplit("/", 1)[-1]
        return last if last in LIFECYCLE_VERBS and not self.name else None

    @property
    def name(self) -> str:
        """metadata.name, else the cluster label; empty for a lifecycle call."""
        return str((self.metadata or {}).get("name") or self.extra.get("clusterLabel") or "")

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body: what the document gives, and nothing else."""
        body: dict[str, Any] = {}
        if self.metadata is not None:
            body["metadata"] = dict(self.metadata)
        body.update(self.extra)
        if self.spec is not None:
            body["spec"] = dict(self.spec)
        return body


@dataclass(frozen=True, slots=True)
class Workload:
    """An ordered list of documents with what the sidecar says of them.

    update: whether the update phase is made
    """

    file: str
    documents: tuple[Document, ...]
    sidecar: Sidecar
    update: bool
    routing: ServiceRouting

    def file_part(self, named: str, *, line: int) -> FilePart:
        """A file that the sidecar names, as it is sent. Raises InputError when it is not there."""
        return _file_part(self.sidecar.file, Path(self.file).parent, named, "file", line=line)


def read_workload(
    path: Path,
    values: Path | None = None,
    *,
    sidecar: Path | None = None,
    update: bool | None = None,
    routing: ServiceRouting | None = None,
    edges_provided: bool = True,
) -> Workload:
    """Read a workload, with the values for its template and the sidecar beside it.

    sidecar:        left out: `<name>.chaos.yaml` beside the workload, when there is one
    update:         make the update phase or not; None: as the sidecar says, which is no when it says nothing
    edges_provided: the harness puts its own edges in the place of the clusters, so that a kubeconfig need not exist

    Raises InputError: file, line, and what was expected.
    """
    given = _values(values)
    source = _rendered(path, given, values)
    beside = sidecar or path.with_name(f"{path.stem}.chaos.yaml")
    extra = _sidecar(beside, given, values) if sidecar or beside.exists() else Sidecar()
    routes = (routing or ServiceRouting()).extended(extra.rules)
    documents = tuple(
        _document(index, found, routes, path.parent, edges_provided=edges_provided)
        for index, found in enumerate(read_yaml(source))
    )
    if not documents:
        raise InputError(str(path), 0, f"the file has no documents; expected at least one with version: {VERSION}")
    enabled = bool(extra.update or extra.replacements) if update is None else update
    return Workload(str(path), documents, extra, enabled, routes)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise InputError(str(path), 0, f"the file cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise InputError(str(path), 0, "the file is not UTF-8 text") from problem


def _values(path: Path | None) -> Any:
    if path is None:
        return None
    documents = read_yaml(plain(str(path), _text(path)))
    if not documents:
        return {}
    if not isinstance(documents[0].value, Mapping):
        raise documents[0].error((), "expected a mapping of names to values")
    return documents[0].value


def _rendered(path: Path, given: Any, values: Path | None) -> Rendered:
    text = _text(path)
    if values is not None:
        return render(text, given, file=str(path))
    for number, line in enumerate(text.split("\n"), start=1):
        if "{{" in line.split("#", 1)[0]:
            raise InputError(str(path), number, "the file is a template; expected a values file with it (--values)")
    return plain(str(path), text)


def _sidecar(path: Path, given: Any, values: Path | None) -> Sidecar:
    documents = read_yaml(_rendered(path, given, values))
    if len(documents) > 1:
        raise documents[1].error((), "a second document; expected one")
    return parse_sidecar(documents[0]) if documents else Sidecar(file=str(path))


def _document(
    index: int, found: YamlDocument, routing: ServiceRouting, folder: Path, *, edges_provided: bool
) -> Document:
    if not isinstance(found.value, Mapping):
        raise found.error((), f"expected a mapping with the keys {', '.join(_KEYS)}")
    for key in found.value:
        if key not in _KEYS:
            raise found.error((key,), f"unknown key {key!r}; expected {', '.join(_KEYS)}")
    if found.value.get("version") != VERSION:
        line = ("version",) if "version" in found.value else ()
        raise found.error(line, f"the version is {found.value.get('version')!r}; expected {VERSION!r}")
    anchor = _anchor(found)
    try:
        service = routing.service(anchor)
    except UnknownAnchorError as problem:
        raise found.error(("resourceContext", "anchor"), str(problem)) from problem
    document = Document(
        index=index,
        file=found.source.file,
        line=found.line,
        anchor=anchor,
        metadata=_metadata(found),
        spec=_spec(found),
        extra=_label(found),
        files=_files(found, folder, optional=edges_provided and _is_clusters(anchor)),
        service=service,
    )
    _check_name(found, document)
    return document


def _anchor(found: YamlDocument) -> str:
    context = found.value.get("resourceContext")
    if not isinstance(context, Mapping) or not isinstance(context.get("anchor"), str):
        raise found.error(("resourceContext",), "resourceContext.anchor is missing; expected a path such as projects")
    for key in context:
        if key != "anchor":
            raise found.error(("resourceContext", key), f"unknown key {key!r} in resourceContext; expected anchor")
    anchor: str = context["anchor"].strip().strip("/")
    if not anchor or "" in anchor.split("/") or any(letter in anchor for letter in " ?#\t"):
        sentence = f"the anchor {context['anchor']!r} is no path; expected names with / between them"
        raise found.error(("resourceContext", "anchor"), sentence)
    return anchor


def _metadata(found: YamlDocument) -> dict[str, Any] | None:
    metadata = found.value.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise found.error(("metadata",), "metadata is no mapping; expected name, description, userData1, userData2")
    for key in _METADATA:
        if key in metadata and ("metadata", key) not in found.texts:
            raise found.error(("metadata", key), f"metadata.{key} is a list or a mapping; expected a text")
    # The text as it was written: emcoctl sends a name such as 007 as it stands, not as a number.
    return {key: found.texts["metadata", key] for key in _METADATA if metadata.get(key) is not None}


def _spec(found: YamlDocument) -> Mapping[str, Any] | None:
    spec = found.value.get("spec")
    if spec is not None and not isinstance(spec, Mapping):
        raise found.error(("spec",), "spec is no mapping; expected names with values")
    return spec


def _label(found: YamlDocument) -> dict[str, Any]:
    if found.value.get("clusterLabel") is None:
        return {}
    if ("clusterLabel",) not in found.texts:
        raise found.error(("clusterLabel",), "clusterLabel is a list or a mapping; expected a text")
    return {"clusterLabel": found.texts["clusterLabel",]}


def _check_name(found: YamlDocument, document: Document) -> None:
    if not document.name and document.verb is None:
        raise found.error(("metadata",), f"metadata.name is missing; expected a name for the new {document.anchor}")
    if "/" in document.name:
        raise found.error(("metadata", "name"), f"the name {document.name!r} has a slash; it becomes part of a path")
    if document.anchor.endswith("/composite-apps") and not (document.spec or {}).get("compositeAppVersion"):
        raise found.error(("spec",), "spec.compositeAppVersion is missing; expected the composite app's version")


def _is_clusters(anchor: str) -> bool:
    segments = anchor.split("/")
    return len(segments) == 3 and segments[0] == "cluster-providers" and segments[2] == "clusters"


def _files(found: YamlDocument, folder: Path, *, optional: bool) -> tuple[FilePart, ...]:
    file, files = found.value.get("file"), found.value.get("files")
    if file is not None and files is not None:
        raise found.error(("files",), "both file and files are given; expected one of them")
    if file is not None:
        if not isinstance(file, str):
            raise found.error(("file",), "file is no text; expected the path of one file")
        line = found.lines["file",]
        return (_file_part(found.source.file, folder, file, "file", line=line, optional=optional),)
    if files is None:
        return ()
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise found.error(("files",), "files is no list of texts; expected the paths of files")
    return tuple(
        _file_part(found.source.file, folder, name, "files", line=found.lines["files", index])
        for index, name in enumerate(files)
    )


def _file_part(file: str, folder: Path, named: str, form_field: str, *, line: int, optional: bool = False) -> FilePart:
    """The file, looked for beside the workload and then, as emcoctl does, in the working directory."""
    for place in (folder / named, Path(named)):
        if place.is_file():
            return FilePart(form_field, place.name, place.read_bytes())
    if optional:
        return FilePart(form_field, Path(named).name, b"")
    raise InputError(file, line, f"the file {named!r} is neither beside the workload nor in the working directory")
