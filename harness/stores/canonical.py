"""The canonical form of a snapshot: what two runs of the same calls have in common.

Random ids are renamed consistently over mongo, etcd and edges, so that a dangling or crossed reference stays visible;
values that differ from run to run are masked by named rules; documents, keys and objects have no order, arrays keep
theirs unless a rule says otherwise. What the ids, masks and labels are is told by the caller.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import bson
import msgspec

from harness.stores.snapshot import Snapshot

Document = Mapping[str, Any]
_STEP = re.compile(r"(?<!\\)\.")


@dataclass(frozen=True, slots=True)
class Mask:
    r"""Replaces values that differ from run to run.

    name:  shown in their place, as `<name>`
    where: pattern of the entry's label (searched)
    path:  dotted path in the entry; `*` stands for one step, `**` for any number, `\.` for a dot in a name
    drop:  take the value out instead of showing `<name>` (things a cluster adds); with an empty path the whole entry
    """

    name: str
    where: str
    path: str
    drop: bool = False


@dataclass(frozen=True, slots=True)
class CanonicalRules:
    """How to read a snapshot.

    id_keys:   patterns of etcd keys whose group 1 is a random id
    id_fields: names of fields, anywhere in documents, that hold such an id (a dangling one is known only from here)
    id_values: patterns of etcd keys whose whole value is such an id
    id_object: the id that an edge's object carries; empty for none
    id_prefix: ids are renamed to `<id_prefix>-1`, `-2` ...
    label:     what a document is called, from its content (`{project} proj1`)
    object_label: the same for an edge's object
    prepare:   takes out of a snapshot what comes and goes without meaning
    unordered: dotted paths of arrays without an order
    """

    id_keys: tuple[str, ...]
    id_fields: frozenset[str]
    id_object: Callable[[Document], str]
    id_prefix: str
    label: Callable[[Document], str]
    object_label: Callable[[Document], str]
    prepare: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot
    id_values: tuple[str, ...] = ()
    masks: tuple[Mask, ...] = ()
    unordered: tuple[str, ...] = ()
    _known: "dict[str, _Masks | None]" = field(default_factory=dict, init=False, repr=False, compare=False)

    def masks_of(self, label: str) -> "_Masks | None":
        """The masks of an entry, each with the steps of its path; None: the whole entry is left out.

        Looked for once: a campaign has many masks, and its states have the same labels again and again.
        """
        if label not in self._known:
            mine = [mask for mask in self.masks if re.search(mask.where, label)]
            left_out = any(mask.drop and not mask.path for mask in mine)
            self._known[label] = None if left_out else tuple((mask, _steps(mask.path)) for mask in mine)
        return self._known[label]


_Masks = tuple[tuple[Mask, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Canonical:
    """Entries by label, comparable; `digest` is equal exactly when the entries are."""

    entries: Mapping[str, Any]
    digest: str
    ids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Delta:
    """One entry in which two canonical states differ."""

    where: str
    kind: Literal["missing", "unexpected", "differs"]
    expected: Any
    actual: Any


def canonical(snapshot: Snapshot, rules: CanonicalRules) -> Canonical:
    """The canonical form."""
    snapshot = rules.prepare(snapshot)
    raw = _entries(snapshot, rules)
    ids = _find_ids(snapshot, raw, rules)
    entries_with_ids = _with_mentions(ids, raw)
    names = _name_ids(ids, [one for one in entries_with_ids if one[2]], rules)
    rename = _renamer(names)
    by_label: dict[str, list[Any]] = {}
    for where, value, mentions in entries_with_ids:
        label = rename(where) if mentions else where
        masks = rules.masks_of(label)
        if masks is not None:
            by_label.setdefault(label, []).append(_masked(_renamed(value, rename) if mentions else value, masks, rules))
    entries: dict[str, Any] = {}
    for label, values in by_label.items():
        entries[label], *copies = sorted(values, key=_order) if len(values) > 1 else values
        # Two documents of the same key are a finding of their own and must not hide each other.
        entries |= {f"{label} (copy {number})": copy for number, copy in enumerate(copies, 2)}
    return from_entries(entries, names)


def from_entries(entries: Mapping[str, Any], names: Mapping[str, str]) -> Canonical:
    """Put entries in order and digest them."""
    ordered = dict(sorted(entries.items()))
    encoded = msgspec.json.encode(ordered, order="sorted", enc_hook=str)
    return Canonical(ordered, hashlib.sha256(encoded).hexdigest()[:24], names)


def difference(expected: Canonical, actual: Canonical) -> tuple[Delta, ...]:
    """Entry by entry, in the order of labels."""
    deltas = []
    for where in sorted({*expected.entries, *actual.entries}):
        if where not in actual.entries:
            deltas.append(Delta(where, "missing", expected.entries[where], None))
        elif where not in expected.entries:
            deltas.append(Delta(where, "unexpected", None, actual.entries[where]))
        elif expected.entries[where] != actual.entries[where]:
            deltas.append(Delta(where, "differs", *_only_different(expected.entries[where], actual.entries[where])))
    return tuple(deltas)


def learn_masks(one: Canonical, two: Canonical) -> tuple[Mask, ...]:
    """Masks for what differs between two runs that should be equal; only values, never presence."""
    masks = []
    for where in sorted(set(one.entries) & set(two.entries)):
        for path in _differing_paths(one.entries[where], two.entries[where], ()):
            escaped = ".".join(step.replace(".", r"\.") for step in path)
            masks.append(Mask("varies", f"^{re.escape(where)}$", escaped))
    return tuple(masks)


def _entries(snapshot: Snapshot, rules: CanonicalRules) -> list[tuple[str, Any]]:
    entries: list[tuple[str, Any]] = []
    for name, documents in snapshot.mongo.items():
        for raw in documents:
            document = bson.decode(raw)
            document.pop("_id", None)
            entries.append((f"mongo {name} {rules.label(document)}", _plain(document)))
    for key, value in snapshot.etcd.items():
        entries.append((f"etcd {_readable(key)}", _parsed(_readable(value))))
    for edge, objects in snapshot.edges.items():
        for thing in objects:
            entries.append((f"edge {edge} {rules.object_label(thing)}", _plain(thing)))
    return entries


def _plain(value: Any) -> Any:
    """Only what JSON knows; other scalars of BSON as text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if isinstance(value, dict | Mapping):  # dict, as most are, is told at once
        return {str(name): _plain(member) for name, member in value.items()}
    return str(value)


def _readable(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _parsed(text: str) -> Any:
    """JSON as data, also JSON inside of a JSON string; everything else as it is."""
    if text[:1] not in '{["' and text not in ("true", "false", "null"):
        return text
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    if isinstance(value, str) and value[:1] in ("{", "["):
        return _parsed(value)
    return value


def _find_ids(snapshot: Snapshot, raw: Iterable[tuple[str, Any]], rules: CanonicalRules) -> set[str]:
    ids: set[str] = set()
    patterns = [re.compile(pattern) for pattern in rules.id_keys]
    for key in map(_readable, snapshot.etcd):
        for pattern in patterns:
            if match := pattern.search(key):
                ids.add(match.group(1))
    for where, value in raw:
        _add_id_fields(value, rules.id_fields, ids)
        if isinstance(value, str) and value and any(re.search(pattern, where) for pattern in rules.id_values):
            ids.add(value)
        if where.startswith("edge ") and (name := rules.id_object(value)):
            ids.add(name)
    return ids


def _add_id_fields(value: Any, names: frozenset[str], ids: set[str]) -> None:
    if isinstance(value, dict):
        for name, member in value.items():
            if name in names:
                found = member if isinstance(member, list) else [member]
                ids.update(item for item in found if isinstance(item, str) and item)
            else:
                _add_id_fields(member, names, ids)
    elif isinstance(value, list):
        for member in value:
            _add_id_fields(member, names, ids)


def _name_ids(ids: set[str], entries: "list[_Entry]", rules: CanonicalRules) -> dict[str, str]:
    """Names that do not depend on the ids' values: by first mention in mongo, then by what etcd and edges say of them.

    Ids that look alike are told apart by the ids that they are mentioned with, again and again; those that are still
    alike then can be swapped, so that it does not matter which is taken first.
    """
    if not ids:
        return {}
    rank = dict.fromkeys(ids, 0)
    while True:
        keys = _looks(entries, rank, rules)
        places = {key: place for place, key in enumerate(sorted(set(keys.values())))}
        if len(places) == len(ids):
            order = sorted(ids, key=lambda name: places[keys[name]])
            return {name: f"{rules.id_prefix}-{number}" for number, name in enumerate(order, 1)}
        stuck = len(places) == len(set(rank.values()))
        rank = {name: 2 * places[keys[name]] + 1 for name in ids}
        if stuck:
            tied = Counter(rank.values())
            first = min(place for place, count in tied.items() if count > 1)
            rank[min(name for name in ids if rank[name] == first)] -= 1


_Entry = tuple[str, Any, tuple[str, ...]]
"""Where it is, its value, and the ids that it mentions, in the order in which it does."""
_Look = tuple[int, bool, tuple[tuple[int, int], ...], tuple[tuple[bytes, int], ...]]


def _with_mentions(ids: set[str], raw: list[tuple[str, Any]]) -> list[_Entry]:
    """The entries with the ids that they mention; few mention any, and those that cannot are not looked through."""
    if not ids:
        return [(where, value, ()) for where, value in raw]
    token = _token(ids)
    quoted = {name: _order(name)[1:-1] for name in ids}
    looked_for = [text for name, text in quoted.items() if text == name.encode()]
    any_escaped = len(looked_for) < len(ids)  # JSON writes it in more than one way
    found = []
    for where, value in raw:
        text = where.encode() + _order(value)
        mentions: list[str] = []
        if any_escaped or any(name in text for name in looked_for):
            mentions += token.findall(where)
            for one in _texts(value):
                mentions += token.findall(one)
        found.append((where, value, tuple(mentions)))
    return found


def _looks(entries: list[_Entry], rank: Mapping[str, int], rules: CanonicalRules) -> dict[str, _Look]:
    """How each id looks as long as only the ids' ranks are known: where it stands in mongo, and where elsewhere."""
    blind = _renamer({name: f"?{number}" for name, number in rank.items()})
    shown = []
    for where, value, mentions in entries:
        label = blind(where)
        masks = rules.masks_of(label)
        if masks is not None:
            text = label.encode() + b" " + _order(_masked(_renamed(value, blind), masks, rules))
            shown.append((text, where.startswith("mongo "), mentions))
    number = {text: place for place, text in enumerate(sorted({text for text, is_mongo, _ in shown if is_mongo}))}
    mongo: dict[str, list[tuple[int, int]]] = {name: [] for name in rank}
    others: dict[str, list[tuple[bytes, int]]] = {name: [] for name in rank}
    for text, is_mongo, mentions in shown:
        for position, name in enumerate(mentions):
            if is_mongo:
                mongo[name].append((number[text], position))
            else:
                others[name].append((text, position))
    return {
        name: (rank[name], not mongo[name], tuple(sorted(mongo[name])), tuple(sorted(others[name]))) for name in rank
    }


def _texts(value: Any) -> list[str]:
    """All texts in a value, names too, in an order that does not depend on that of its members."""
    found: list[str] = []
    _add_texts(value, found)
    return found


def _add_texts(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, dict):
        for name in sorted(value):
            found.append(name)
            _add_texts(value[name], found)
    elif isinstance(value, list):
        for member in value:
            _add_texts(member, found)
    elif isinstance(value, int) and not isinstance(value, bool):
        found.append(str(value))


def _renamer(names: Mapping[str, str]) -> Callable[[str], str]:
    if not names:
        return lambda text: text
    token = _token(names)
    return lambda text: token.sub(lambda match: names[match.group()], text)


def _token(ids: Iterable[str]) -> re.Pattern[str]:
    """An id in a text; digits beside it would make it another number."""
    alternatives = "|".join(sorted(map(re.escape, ids), key=len, reverse=True))
    return re.compile(rf"(?<![0-9])(?:{alternatives})(?![0-9])")


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, dict):
        return {rename(name): _renamed(member, rename) for name, member in value.items()}
    if isinstance(value, list):
        return [_renamed(member, rename) for member in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**9:
        text = str(value)
        renamed = rename(text)
        return value if renamed == text else renamed
    return value


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step.replace(r"\.", ".") for step in _STEP.split(path))


def _masked(value: Any, masks: _Masks, rules: CanonicalRules) -> Any:
    for mask, steps in masks:
        value = _apply(value, steps, mask)
    for path in rules.unordered:
        value = _sorted_at(value, tuple(path.split(".")))
    return value


def _apply(value: Any, path: tuple[str, ...], mask: Mask) -> Any:
    if not path or path == ("",):
        return value if value in ("", None) else f"<{mask.name}>"  # a value that is not there must stay visible
    step, rest = path[0], path[1:]
    if step == "**":
        value = _apply(value, rest, mask)
        if isinstance(value, dict):
            return {name: _apply(member, path, mask) for name, member in value.items()}
        if isinstance(value, list):
            return [_apply(member, path, mask) for member in value]
        return value
    drop = mask.drop and not rest
    if isinstance(value, dict):
        hit = {name: step in (name, "*") for name in value}
        kept = {name: member for name, member in value.items() if not (drop and hit[name])}
        return {name: _apply(member, rest, mask) if hit[name] else member for name, member in kept.items()}
    if isinstance(value, list):
        marked = [(member, step in (str(index), "*")) for index, member in enumerate(value)]
        return [_apply(member, rest, mask) if hit else member for member, hit in marked if not (drop and hit)]
    return value


def _sorted_at(value: Any, path: tuple[str, ...]) -> Any:
    if not path:
        return sorted(value, key=_order) if isinstance(value, list) else value
    if isinstance(value, dict) and path[0] in value:
        return {**value, path[0]: _sorted_at(value[path[0]], path[1:])}
    return value


def _order(value: Any) -> bytes:
    """The same for equal values, whatever the order of their members."""
    return msgspec.json.encode(value, order="sorted", enc_hook=str)


def _differing_paths(one: Any, two: Any, path: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    if isinstance(one, dict) and isinstance(two, dict):
        for name in sorted(set(one) & set(two)):
            yield from _differing_paths(one[name], two[name], (*path, name))
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for index, (left, right) in enumerate(zip(one, two, strict=True)):
            yield from _differing_paths(left, right, (*path, str(index)))
    elif one != two and type(one) is type(two) and not isinstance(one, dict | list):
        yield path


def _only_different(expected: Any, actual: Any) -> tuple[Any, Any]:
    """Cut what both have in common out of two documents, so that a difference can be read at a glance."""
    if not (isinstance(expected, dict) and isinstance(actual, dict)):
        return expected, actual
    left: dict[str, Any] = {}
    right: dict[str, Any] = {}
    for name in sorted({*expected, *actual}):
        if name in expected and name in actual:
            if expected[name] != actual[name]:
                left[name], right[name] = _only_different(expected[name], actual[name])
        elif name in expected:
            left[name] = expected[name]
        else:
            right[name] = actual[name]
    return left, right
