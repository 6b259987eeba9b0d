"""Errors in files that people wrote, and YAML read as Go's yaml.v3 reads it, with the line of every key."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml


class InputError(ValueError):
    """Something in a file cannot be used. Its text is one sentence that names the file and the line."""

    def __init__(self, file: str, line: int, sentence: str) -> None:
        super().__init__(f"{file}:{line}: {sentence}" if line else f"{file}: {sentence}")
        self.file = file
        self.line = line
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text with the line of the source file that each of its lines came from (they differ where a loop repeats)."""

    file: str
    text: str
    lines: tuple[int, ...]

    def source_line(self, line: int) -> int:
        """Source line, from 1, of a line of the text, from 1."""
        return self.lines[min(max(line, 1), len(self.lines)) - 1] if self.lines else 0

    def error(self, line: int, sentence: str) -> InputError:
        """An error at a line of the text, told by the line of the source."""
        return InputError(self.file, self.source_line(line), sentence)


def plain(file: str, text: str) -> Rendered:
    """A text that is its own source."""
    return Rendered(file, text, tuple(range(1, text.count("\n") + 2)))


class _Yaml12Loader(yaml.SafeLoader):
    """Scalars as in Go's yaml.v3: `no` and `on` are words, `12:30` is no number, `1e3` is one, dates stay text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  PyYAML's way to begin with none; it declares the type


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("tag:yaml.org,2002:merge", r"^(?:<<)$", "<"),
):
    _Yaml12Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document of a YAML stream, with the lines of its keys.

    line:   first line of the content, in the source file
    lines:  source line by path of keys, such as ("resourceContext", "anchor")
    texts:  the text of scalars as it was written, by path
    """

    source: Rendered
    line: int
    value: Any
    lines: dict[tuple[str | int, ...], int]
    texts: dict[tuple[str | int, ...], str]

    def error(self, path: tuple[str | int, ...], sentence: str) -> InputError:
        """An error at the value under the path of keys, or at what is nearest above it."""
        while path and path not in self.lines:
            path = path[:-1]
        return InputError(self.source.file, self.lines.get(path, self.line), sentence)


def read_yaml(source: Rendered) -> tuple[YamlDocument, ...]:
    """All documents of the text that are not empty. Raises InputError for what is no YAML and for a key given twice."""
    loader = _Yaml12Loader(_without_tabs(source))
    try:
        return tuple(_documents(source, loader))
    except yaml.MarkedYAMLError as problem:
        raise _yaml_error(source, problem) from problem
    except (yaml.YAMLError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(source.file, 0, f"this is not YAML: {problem}") from problem
    finally:
        loader.dispose()


def _documents(source: Rendered, loader: _Yaml12Loader) -> Iterator[YamlDocument]:
    while loader.check_node():
        node = loader.get_node()
        assert node is not None  # check_node() said so
        lines: dict[tuple[str | int, ...], int] = {}
        texts: dict[tuple[str | int, ...], str] = {}
        _walk(source, node, (), lines, texts)
        value = loader.construct_document(node)
        if value is not None:
            yield YamlDocument(source, source.source_line(node.start_mark.line + 1), value, lines, texts)


def _walk(
    source: Rendered,
    node: yaml.Node,
    path: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
    texts: dict[tuple[str | int, ...], str],
) -> None:
    lines.setdefault(path, source.source_line(node.start_mark.line + 1))
    if isinstance(node, yaml.ScalarNode):
        texts[path] = node.value
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(source, item, (*path, index), lines, texts)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise source.error(line, "this key is a list or a mapping; expected a word")
            here = (*path, key.value)
            if here in lines:
                raise source.error(line, f"the key {key.value!r} is given twice (first on line {lines[here]})")
            lines[here] = source.source_line(line)
            _walk(source, value, here, lines, texts)


def _yaml_error(source: Rendered, problem: yaml.MarkedYAMLError) -> InputError:
    mark = problem.problem_mark or problem.context_mark
    what = " ".join(part for part in (problem.context, problem.problem) if part)
    sentence = f"this is not YAML: {what}"
    return source.error(mark.line + 1, sentence) if mark else InputError(source.file, 0, sentence)


def _without_tabs(source: Rendered) -> str:
    """The text with tabs before flow content as spaces: Go's reader takes them there, PyYAML does not."""
    lines = source.text.split("\n")
    for _ in range(len(lines)):
        text = "\n".join(lines)
        try:
            for _token in yaml.scan(text, Loader=yaml.SafeLoader):
                pass
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark
            if mark is None or "'\\t'" not in (problem.problem or ""):
                return text  # whatever it is, the real reader reports it
            line = lines[mark.line]
            content = line.lstrip(" \t")
            if not content or "\t" not in line[: len(line) - len(content)]:
                return text
            lines[mark.line] = line[: len(line) - len(content)].replace("\t", "    ") + content
        else:
            return text
    return "\n".join(lines)
