"""The part of Go's text/template that emcoctl files use.

Understood: `{{ .A.B }}`, `{{ $.A }}`, `{{ $var.A }}`, `{{ range [$i,] $v := .List }} ... {{ else }} ... {{ end }}`,
`{{ if [not] .A }} ... {{ else }} ... {{ end }}`, trim markers and comments. Everything else is refused with its line,
and so is a value that is missing: Go would print `<no value>` into the call instead.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.emco.inputs import InputError, Rendered

_EXPECTED = (
    "expected {{ .Name }}, {{ $.Name }}, {{ range $i, $v := .List }}, {{ if .Name }}, {{ else }}, {{ end }}, a comment"
)
_ACTION = re.compile(r"\{\{(-(?=\s))?(\s*/\*.*?\*/\s*?|.*?)((?<=\s)-)?\}\}", re.DOTALL)
_OPERAND = re.compile(r"^(\$\w*)?((?:\.\w+)*|\.)$")
_RANGE = re.compile(r"^range\s+(?:(?:\$(\w+)\s*,\s*)?\$(\w+)\s*:=\s*)?(\S+)$")
_IF = re.compile(r"^if\s+(not\s+)?(\S+)$")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class _Text:
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class _Operand:
    line: int
    source: str
    variable: str | None
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    """A range (index and item name its variables) or an if."""

    line: int
    kind: str
    operand: _Operand
    body: "tuple[_Node, ...]"
    other: "tuple[_Node, ...]"
    negated: bool = False
    index: str | None = None
    item: str | None = None


_Node = _Text | _Operand | _Block


@dataclass(frozen=True, slots=True)
class _Token:
    line: int
    text: str
    action: bool


@dataclass(frozen=True, slots=True)
class _Scope:
    dot: Any
    variables: Mapping[str, Any]


def render(text: str, values: Any, *, file: str) -> Rendered:
    """The text with its actions carried out on the values. Raises InputError, which names the file and the line."""
    tokens = list(_tokens(file, text))
    nodes, rest, _ = _parse(file, tokens, 0, opened=None)
    if rest != len(tokens):
        raise InputError(file, tokens[rest].line, f"{{{{ {tokens[rest].text} }}}} closes nothing")
    return _joined(file, _emit(file, nodes, _Scope(values, {"": values})))


def _tokens(file: str, text: str) -> Iterator[_Token]:
    position, trim = 0, False
    for match in _ACTION.finditer(text):
        before = text[position : match.start()]
        yield from _text_token(text, position, before.rstrip() if match[1] else before, trim=trim)
        content = match[2].strip()
        if not (content.startswith("/*") and content.endswith("*/")):
            yield _Token(text.count("\n", 0, match.start()) + 1, content, action=True)
        position, trim = match.end(), bool(match[3])
    if "{{" in text[position:]:
        line = text.count("\n", 0, text.index("{{", position)) + 1
        raise InputError(file, line, "this {{ is never closed; expected }}")
    yield from _text_token(text, position, text[position:], trim=trim)


def _text_token(text: str, position: int, part: str, *, trim: bool) -> Iterator[_Token]:
    if trim:
        stripped = part.lstrip()
        position += len(part) - len(stripped)
        part = stripped
    if part:
        yield _Token(text.count("\n", 0, position) + 1, part, action=False)


def _parse(
    file: str, tokens: Sequence[_Token], at: int, *, opened: _Token | None
) -> tuple[tuple[_Node, ...], int, tuple[_Node, ...]]:
    """Nodes up to the end of the block that `opened` began, where to go on, and the nodes of its else."""
    parts: list[list[_Node]] = [[]]
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if not token.action:
            parts[-1].append(_Text(token.line, token.text))
        elif token.text == "end":
            if opened is None:
                return tuple(parts[0]), at - 1, ()
            return tuple(parts[0]), at, tuple(parts[1]) if len(parts) > 1 else ()
        elif token.text == "else":
            if opened is None or len(parts) > 1:
                raise InputError(file, token.line, "{{ else }} without an open {{ if }} or {{ range }}")
            parts.append([])
        elif token.text.split(None, 1)[:1] in (["range"], ["if"]):
            body, at, other = _parse(file, tokens, at, opened=token)
            parts[-1].append(_block(file, token, body, other))
        else:
            parts[-1].append(_operand(file, token.line, token.text))
    if opened is not None:
        raise InputError(file, opened.line, f"{{{{ {opened.text} }}}} is never closed; expected {{{{ end }}}}")
    return tuple(parts[0]), at, ()


def _block(file: str, token: _Token, body: tuple[_Node, ...], other: tuple[_Node, ...]) -> _Block:
    if match := _RANGE.match(token.text):
        operand = _operand(file, token.line, match[3])
        return _Block(token.line, "range", operand, body, other, index=match[1], item=match[2])
    if match := _IF.match(token.text):
        operand = _operand(file, token.line, match[2])
        return _Block(token.line, "if", operand, body, other, negated=bool(match[1]))
    raise InputError(file, token.line, f"{{{{ {token.text} }}}} is not understood; {_EXPECTED}")


def _operand(file: str, line: int, text: str) -> _Operand:
    match = _OPERAND.match(text)
    if not match or not text:
        raise InputError(file, line, f"{{{{ {text} }}}} is not understood; {_EXPECTED}")
    variable = match[1][1:] if match[1] else None
    return _Operand(line, text, variable, tuple(part for part in match[2].split(".") if part))


def _value(file: str, operand: _Operand, scope: _Scope, *, may_miss: bool = False) -> Any:
    if operand.variable is None:
        value = scope.dot
    elif operand.variable in scope.variables:
        value = scope.variables[operand.variable]
    else:
        raise InputError(file, operand.line, f"the variable ${operand.variable} is not defined here")
    for field in operand.fields:
        if isinstance(value, Mapping):
            value = value.get(field, _MISSING)
        elif value is not _MISSING:
            value = _MISSING if value is None else _no_fields(file, operand, field)
    if may_miss:
        return None if value is _MISSING else value
    if value is _MISSING or value is None:
        raise InputError(file, operand.line, f"the values hold nothing for {operand.source}; expected a value")
    return value


def _no_fields(file: str, operand: _Operand, field: str) -> Any:
    raise InputError(file, operand.line, f"{operand.source} asks for {field!r} of a value that has no names")


def _emit(file: str, nodes: Sequence[_Node], scope: _Scope) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, _Text):
            yield node.line, node.text
        elif isinstance(node, _Operand):
            yield node.line, _printed(file, node, _value(file, node, scope))
        elif node.kind == "if":
            truth = bool(_value(file, node.operand, scope, may_miss=True)) is not node.negated
            yield from _emit(file, node.body if truth else node.other, scope)
        else:
            yield from _emit_range(file, node, scope)


def _emit_range(file: str, node: _Block, scope: _Scope) -> Iterator[tuple[int, str]]:
    value = _value(file, node.operand, scope)
    items: list[tuple[Any, Any]]
    if isinstance(value, Mapping):
        items = sorted(value.items())  # as Go does
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = list(enumerate(value))
    else:
        raise InputError(file, node.line, f"{node.operand.source} is not a list; expected one after range")
    for index, item in items:
        names = {name: given for name, given in ((node.index, index), (node.item, item)) if name is not None}
        yield from _emit(file, node.body, _Scope(item, {**scope.variables, **names}))
    if not items:
        yield from _emit(file, node.other, scope)


def _printed(file: str, operand: _Operand, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str | int):
        return str(value)
    raise InputError(file, operand.line, f"{operand.source} is a list or a mapping; expected a single value")


def _joined(file: str, pieces: Iterator[tuple[int, str]]) -> Rendered:
    text: list[str] = []
    lines: list[int] = []
    fresh = True  # whether the next character begins a line of the output
    last = 1
    for line, piece in pieces:
        for offset, part in enumerate(piece.split("\n")):
            last = line + offset
            if offset:
                if fresh:
                    lines.append(last - 1)
                fresh = True
            if part and fresh:
                lines.append(last)
                fresh = False
        text.append(piece)
    if fresh:
        lines.append(last)
    return Rendered(file, "".join(text), tuple(lines))
