"""No secret leaves the harness: everything that is written or shown goes through a `Redactor` first.

A secret is recognised in three ways, each enough by itself: by the name it stands under (`privatekey`,
`client-key-data`, any `*_PASSWORD`), by its looks (PEM private keys, JWTs, bearer tokens, credentials in URLs, long
base64), and by its value where the harness knows it (what it was given by environment or file).

A masked value becomes `[masked #a1b2c3]`. The six digits are a keyed hash, so that two different secrets can still be
told apart in a difference; the key is the run's own and never written, so that a short secret cannot be guessed from
them. Masking twice changes nothing.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_NAME_ENDINGS = (
    "password", "passwd", "passphrase", "privatekey", "secretkey", "accesskey", "apikey", "datakey", "encryptionkey",
    "clientkey", "clientkeydata", "token", "authorization", "credential", "credentials", "clientsecret",
)  # fmt: skip
# Masked only where the value is a plain value: as the name of a whole object these words are common and harmless.
_SCALAR_NAMES = frozenset({"config", "kubeconfig", "secret", "cookie", "setcookie"})

_MASKED = re.compile(r"\[masked #[0-9a-f]{6}\]")
_LABELS = ("name", "key", "field", "where", "path")
_LABELLED = ("value", "expected", "actual", "data")

_BASE64 = r"[A-Za-z0-9+/=_\-]"
_PEM = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]*)PRIVATE KEY-----.*?(?:-----END (?P=kind)PRIVATE KEY-----|\Z)", re.S)
_PEM_END = re.compile(r"-----END [A-Z0-9 ]*PRIVATE KEY-----")
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=\s\\]*\Z")
_LOOKS: tuple[re.Pattern[str], ...] = (
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"),  # JWT
    re.compile(rf"LS0tLS1CRUdJTi{_BASE64}*"),  # base64 of "-----BEGIN", that is PEM in base64
    re.compile(r"(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)"),  # user:password@ in a URL
    re.compile(r"(?i)(?<=\bbearer )[^\s\"',;]+|(?<=\bbasic )[A-Za-z0-9+/]{8,}={0,2}"),
)
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{60,}={0,2}")
# Possessive quantifiers keep these linear: logs are long and may hold anything.
_NAME = re.compile(
    r"""(?P<lead>^[ \t]*+(?:-[ \t]++)?)?         # alone on its line: YAML, a header, a shell variable
        (?<![\w.-])
        (?P<quote>(?<!\\)\\*+["'])?(?P<name>[\w.-]++)(?(quote)(?P=quote))
        [ \t]*+[:=][ \t]*+
    """,
    re.VERBOSE | re.MULTILINE,
)
_VALUE = re.compile(
    r"""(?P<quote>\\*+["'])(?P<inner>.*?)(?<!\\)(?P=quote)        # quoted, at any depth of escaping
      | (?P<cut>\\*+["'][^\n]*)                                  # quoted and cut off
      | (?P<block>[|>][-+]?[ \t]*\n(?:[ \t]+\S[^\n]*\n?)+)       # YAML block
      | (?P<object>[{\[][^{}\[\]]*[}\]]?)                        # an object that was cut off before it could be parsed
      | (?P<word>(?:(?i:bearer|basic)[ ])?[^\s,;&"'{}\[\]]+)
    """,
    re.VERBOSE,
)
_REST_OF_LINE = re.compile(r"[ \t]+[^\s\"'][^\n]*")
_SECRET_KIND = re.compile(r"^[ \t]*kind:[ \t]*[\"']?Secret\b", re.MULTILINE)
_SECRET_DATA = re.compile(
    r"^(?P<indent>[ \t]*)(?:data|stringData):[ \t]*\n(?P<body>(?:(?P=indent)[ \t]+\S.*\n?)+)", re.M
)
_LONGEST_KEPT = 64 * 1024  # characters; longer texts, as logs are, do not come again
_HARMLESS = frozenset({"", "null", "true", "false", "None", "True", "False", "[]", "{}", '""', "''"})


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is a secret whatever it looks like."""
    plain = re.sub(r"[-_. ]", "", name).lower()
    return plain.endswith(_NAME_ENDINGS)


def _is_scalar_secret_name(name: str) -> bool:
    return is_secret_name(name) or re.sub(r"[-_. ]", "", name).lower() in _SCALAR_NAMES


def _last_word(text: str) -> str:
    return re.split(r"[/\s]", text.rstrip("/ "))[-1]


def _looks_like_base64(text: str) -> bool:
    """Long, mixed, and with few slashes: neither a hex digest nor a path of etcd or of a REST call."""
    bare = text.rstrip("=")
    mixed = all(any(test(c) for c in bare) for test in (str.isupper, str.islower, str.isdigit))
    return mixed and sum(c in "/_-" for c in bare) * 12 <= len(bare)


@dataclass(frozen=True, slots=True)
class Redactor:
    """Masks secrets in nested data and in text.

    salt:  the key of the fingerprints; random per run, passed in, never written
    known: values that are secret wherever they appear; those shorter than four characters are left alone, because
           they would mask half of every text
    places: folders of this machine and what stands for them: where somebody works and lives is nobody's business
    """

    salt: bytes
    known: tuple[str, ...] = ()
    places: tuple[tuple[str, str], ...] = ()
    _masked: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def data(self, value: Any) -> Any:
        """A copy of nested JSON-like data without secrets. Keys are kept, but what is in them is masked, too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self.text(bytes(value).decode("utf-8", "backslashreplace"))
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, list | tuple):
            if len(value) == 2 and isinstance(value[0], str) and is_secret_name(value[0]):
                return [value[0], self._everything(value[1])]
            return [self.data(item) for item in value]
        return value

    def text(self, text: str) -> str:
        """The text without secrets. Text that is a whole JSON document is masked as data."""
        if len(text) > _LONGEST_KEPT:
            return self._text(text)
        known = self._masked.get(text)  # a run's texts are the same few thousand, over and over
        if known is None:
            known = self._masked[text] = self._text(text)
        return known

    def _text(self, text: str) -> str:
        text = text.encode("utf-8", "replace").decode("utf-8") if _has_surrogates(text) else text
        parsed = _json_document(text)
        if parsed is not None:
            redacted = self.data(parsed)
            # What was not touched keeps its spelling.
            return text if redacted == parsed else json.dumps(redacted, ensure_ascii=False)
        for secret in sorted(self.known, key=len, reverse=True):
            if len(secret) >= 4 and secret in text:
                text = text.replace(secret, self._mask(secret))
        for folder, shown in self.places:
            if folder in text:
                whole = re.compile(rf"(?<![\w./~-]){re.escape(folder)}(?:/|(?![\w.-]))")
                text = whole.sub(lambda match, shown=shown: shown or ("" if match[0][-1] == "/" else "."), text)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        text = self._cut_pem(self._substitute(_PEM, text))
        if _SECRET_KIND.search(text):
            text = _SECRET_DATA.sub(self._secret_data, text)
        text = self._assignments(text)
        for looks in _LOOKS:
            text = self._substitute(looks, text)
        return self._substitute(_BLOB, text, _looks_like_base64)

    def _mapping(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        label = next((value[k] for k in _LABELS if isinstance(value.get(k), str)), "")
        labelled = bool(label) and is_secret_name(_last_word(label))
        secret_object = value.get("kind") == "Secret"
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = str(key)
            if (
                is_secret_name(name)
                or (_is_scalar_secret_name(name) and not isinstance(item, Mapping | list | tuple))
                or (labelled and name in _LABELLED)
                or (secret_object and name in ("data", "stringData"))
            ):
                result[self.text(name)] = self._everything(item)
            else:
                result[self.text(name)] = self.data(item)
        return result

    def _everything(self, value: Any) -> Any:
        """All leaves masked; the shape stays."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._everything(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._everything(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        return self._mask(value if isinstance(value, str) else repr(value))

    def _mask(self, secret: str) -> str:
        if secret == "" or _MASKED.fullmatch(secret):
            return secret
        digest = hmac.new(self.salt, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return f"[masked #{digest[:6]}]"

    def _substitute(self, pattern: re.Pattern[str], text: str, accept: Callable[[str], bool] = bool) -> str:
        return pattern.sub(lambda match: self._mask(match[0]) if accept(match[0]) else match[0], text)

    def _cut_pem(self, text: str) -> str:
        """The tail of a log may begin in the middle of a key: what looks like one before a lone END goes, too."""
        end = _PEM_END.search(text)
        if end is None:
            return text
        body = _PEM_BODY.search(text[max(0, end.start() - 8192) : end.start()])
        start = end.start() - (len(body[0]) if body else 0)
        return text[:start] + self._mask(text[start : end.end()]) + self._cut_pem(text[end.end() :])

    def _assignments(self, text: str) -> str:
        """`name: value`, `name=value` and their like, in whatever quotes, where the name is a secret's."""
        done: list[str] = []
        position = 0
        while (name := _NAME.search(text, position)) is not None:
            done.append(text[position : name.end()])
            position = name.end()
            quoted = name["quote"] is not None
            if not (_is_scalar_secret_name(name["name"]) if quoted else is_secret_name(name["name"])):
                continue
            value = _VALUE.match(text, position)
            if value is None or value[0] in _HARMLESS or _MASKED.match(text, position):
                continue
            position = value.end()
            if value["inner"] is not None:
                done.append(f"{value['quote']}{self._mask(value['inner'])}{value['quote']}")
            elif value["block"] is not None:
                done.append(f"{self._mask(value[0])}\n")
            else:
                rest = _REST_OF_LINE.match(text, position) if name["lead"] is not None else None
                position = rest.end() if rest else position
                done.append(self._mask(text[value.start() : position]))
        done.append(text[position:])
        return "".join(done)

    def _secret_data(self, match: re.Match[str]) -> str:
        body = re.sub(r"(?m)^([ \t]*[^\s:]+:[ \t]*)(\S.*)$", lambda m: m[1] + self._mask(m[2]), match["body"])
        return match[0][: match.start("body") - match.start()] + body


def redactor(
    *, salt: bytes, environment: Mapping[str, str], known: Iterable[str] = (), places: Mapping[str, str] | None = None
) -> Redactor:
    """A redactor that also knows the values of all environment variables with a secret's name.

    places: absolute paths of folders, each with what to write instead of it and the slash that follows
    """
    values = {value for name, value in environment.items() if is_secret_name(name)} | set(known)
    deepest_first = sorted((places or {}).items(), key=lambda place: -len(place[0]))
    return Redactor(
        salt=salt,
        known=tuple(sorted(value for value in values if value)),
        places=tuple((folder, shown) for folder, shown in deepest_first if folder != "/"),
    )


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def _json_document(text: str) -> Any:
    """The parsed document if the whole text is a JSON object or array, else None."""
    stripped = text.strip()
    if not stripped or stripped[0] + stripped[-1] not in ("{}", "[]"):
        return None
    try:
        return json.loads(stripped)
    except (ValueError, RecursionError):
        return None
