"""`emco-chaos check`, `backup`, `restore`, `backup-info`: for the person who runs an EMCO (docs/operators.md)."""

import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pymongo.uri_parser import parse_uri
from rich.console import Console

from harness import operators
from harness.crashpoints.model import Grade
from harness.defaults import make_redactor
from harness.emco.invariants import Violation, named
from harness.evidence.encoding import to_json
from harness.evidence.redaction import Redactor, redactor
from harness.evidence.versions import versions
from harness.faults.victim import HarnessTrouble, UsageError
from harness.reporting.words import counted
from harness.stores.backup import Manifest
from harness.stores.pair import Replace

MongoUri = Annotated[
    str,
    typer.Option(
        "--mongo-uri",
        envvar="EMCO_CHAOS_MONGO_URI",
        help="EMCO's mongo. One with a password comes by the environment or --mongo-uri-file.",
        show_default=False,
    ),
]
MongoUriFile = Annotated[
    Path | None, typer.Option("--mongo-uri-file", help="File that holds the mongo URI.", show_default=False)
]
EtcdEndpoint = Annotated[str, typer.Option("--etcd-endpoint", help="EMCO's etcd, host:port.", show_default=False)]
EtcdUser = Annotated[
    str, typer.Option("--etcd-user", envvar="EMCO_CHAOS_ETCD_USER", help="User of etcd, if it has any.")
]
Limit = Annotated[float, typer.Option("--limit", help="Seconds for the stores to come to rest.", min=0.1)]
Pause = Annotated[float, typer.Option("--pause", help="Seconds in which nothing may move.", min=0.05)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
BackupFile = Annotated[Path, typer.Argument(help="The backup.")]
DataKeyEnv = Annotated[
    str,
    typer.Option(
        "--data-key-env",
        help="Environment variable that holds EMCO's data key (EMCO_DATA_KEY of its services).",
        show_default="EMCO does not encrypt",
    ),
]

_ETCD_PASSWORD = "EMCO_CHAOS_ETCD_PASSWORD"  # noqa: S105  the name of a variable


def check(
    context: typer.Context,
    *,
    mongo_uri: MongoUri = "",
    mongo_uri_file: MongoUriFile = None,
    etcd_endpoint: EtcdEndpoint = "",
    etcd_user: EtcdUser = "",
    limit: Limit = 10.0,
    pause: Pause = 1.0,
    as_json: AsJson = False,
) -> None:
    """Is the database of a live EMCO consistent? Reads mongo and etcd, writes nothing.

    Exit codes: **0** consistent; **1** something is broken; **3** EMCO did not come to rest, or a store cannot be read.
    """
    waits = operators.rest(limit=limit, pause=pause)
    stores = _stores(context, mongo_uri, mongo_uri_file, etcd_endpoint, etcd_user)
    hide = _redactor(stores, None)
    with _hidden(hide):
        health = operators.look_at(stores, waits)
    if as_json:
        sys.stdout.write(to_json(_health_document(health), hide, indent=True).decode() + "\n")
    else:
        _print_health(health, hide)
    failed = any(one.grade is not Grade.WARN for one in health.violations)
    raise typer.Exit(3 if not health.certain else 1 if failed else 0)


def backup(
    context: typer.Context,
    file: BackupFile,
    *,
    mongo_uri: MongoUri = "",
    mongo_uri_file: MongoUriFile = None,
    etcd_endpoint: EtcdEndpoint = "",
    etcd_user: EtcdUser = "",
    data_key_env: DataKeyEnv = "",
    data_key: Annotated[
        str, typer.Option("--data-key", help="`keep` it in the backup, or only its `fingerprint`.")
    ] = "keep",
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="NAME=FILE: a secret to keep with it.", show_default=False)
    ] = None,
    even_pending: Annotated[
        bool, typer.Option("--even-pending", help="Also while rsync has work queued; a restore makes it do it again.")
    ] = False,
    limit: Limit = 30.0,
    pause: Pause = 2.0,
) -> None:
    """Back up a live EMCO: mongo and etcd of one quiet moment, in one file. Stop writing to EMCO meanwhile."""
    if data_key not in ("keep", "fingerprint"):
        raise UsageError(f"--data-key {data_key}: keep or fingerprint is expected")
    if data_key != "keep" and not data_key_env:
        raise UsageError("--data-key says what becomes of the key that --data-key-env names; name it")
    waits = operators.rest(limit=limit, pause=pause, even_pending=even_pending)
    stores = _stores(context, mongo_uri, mongo_uri_file, etcd_endpoint, etcd_user)
    kept = operators.read_secrets(
        data_key_env, keep=data_key == "keep", files=tuple(secret or ()), environment=os.environ
    )
    hide = _redactor(stores, kept)
    with _hidden(hide):
        manifest, violations = operators.back_up(file, stores, waits, kept, _versions())
    _say(f"{file}: {hide.text(_totals(manifest))}")
    if violations:
        broken = counted(len(violations), "place")
        _say(f"what was backed up is broken in {broken}; see emco-chaos check")


def restore(
    context: typer.Context,
    file: BackupFile,
    *,
    mongo_uri: MongoUri = "",
    mongo_uri_file: MongoUriFile = None,
    etcd_endpoint: EtcdEndpoint = "",
    etcd_user: EtcdUser = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what the stores hold, if they carry the harness's marker.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --replace: whatever they hold.")] = False,
    data_key_env: DataKeyEnv = "",
    secrets_to: Annotated[
        Path | None,
        typer.Option("--secrets-to", help="Folder to make for the secrets of the backup.", show_default=False),
    ] = None,
) -> None:
    """Restore a backup into empty stores that nobody uses: verified before, compared afterwards."""
    if yes and not replace:
        raise UsageError("--yes without --replace means nothing: name both to replace what the stores hold")
    stores = _stores(context, mongo_uri, mongo_uri_file, etcd_endpoint, etcd_user)
    given = operators.read_secrets(data_key_env, keep=True, files=(), environment=os.environ)
    hide = _redactor(stores, given)
    replaces: Replace = "always" if yes else "marked" if replace else "never"
    with _hidden(hide):
        content = operators.opened(file)
        if secrets_to and secrets_to.exists():
            raise UsageError(f"--secrets-to {secrets_to}: it is there already")
        done = operators.bring_back(content, stores, replaces, given)
        files = operators.write_secrets(content, secrets_to) if secrets_to else ()
    lines = [
        f"restored {counted(done.documents, 'document')} and {counted(done.keys, 'key')}, read back and found equal",
        *(f"note: {note}" for note in done.notes),
        *(f"secret: {path}" for path in files),
    ]
    if operators.DATA_KEY in content.extras and given.data_key is None:
        lines.append("EMCO's services need the data key that is in the backup; --secrets-to DIR writes it")
    lines.append("now start all of EMCO's services anew: they keep a schema and connections in memory")
    for line in lines:
        _say(hide.text(line))


def backup_info(file: BackupFile, *, as_json: AsJson = False) -> None:
    """Verify a backup and say what is in it; nothing of its secrets but their names."""
    manifest = operators.manifest_of(file)
    if as_json:
        sys.stdout.write(to_json(_manifest_document(manifest), make_redactor(), indent=True).decode() + "\n")
        return
    lines = [
        f"{file}: {_totals(manifest)}",
        f"made {manifest.created}, format {manifest.format}, every digest is right",
    ]
    lines += [f"  {name} {version}" for name, version in sorted(manifest.versions.items())]
    lines += [f"  {one.name}: {counted(one.count, 'entry', 'entries')}, {one.bytes} bytes" for one in manifest.members]
    lines += [f"  fingerprint of the secret {name}" for name in sorted(manifest.fingerprints)]
    for line in lines:
        _say(line)


def _versions() -> dict[str, str]:
    """Of what made the backup; the servers' own are added to them."""
    return {name: version for name, version in versions().items() if name in ("emco-chaos", "python", "pymongo")}


def _stores(
    context: typer.Context, mongo_uri: str, mongo_uri_file: Path | None, etcd_endpoint: str, etcd_user: str
) -> operators.Stores:
    source = context.get_parameter_source("mongo_uri")
    by_hand = source is not None and source.name == "COMMANDLINE"
    if mongo_uri_file and by_hand:
        raise UsageError("--mongo-uri and --mongo-uri-file: only one of them")
    if mongo_uri_file:
        try:
            mongo_uri = mongo_uri_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise UsageError(f"--mongo-uri-file {mongo_uri_file}: cannot be read") from error
    stores = operators.Stores(mongo_uri, etcd_endpoint, etcd_user, os.environ.get(_ETCD_PASSWORD, ""))
    if by_hand and parse_uri(mongo_uri)["password"]:
        raise UsageError(
            "--mongo-uri holds a password, and a command line can be read by everybody on this machine: "
            "give the URI by EMCO_CHAOS_MONGO_URI or --mongo-uri-file"
        )
    if etcd_user and not stores.etcd_password:
        raise UsageError(f"--etcd-user: the password is expected in {_ETCD_PASSWORD}")
    return stores


def _redactor(stores: operators.Stores, kept: operators.Secrets | None) -> Redactor:
    password = parse_uri(stores.mongo_uri)["password"] or ""
    known = [stores.mongo_uri if password else "", password, stores.etcd_password]
    if kept:
        known += [content.decode("utf-8", "ignore") for content in kept.contents()]
    return redactor(salt=secrets.token_bytes(16), environment=os.environ, known=[one for one in known if one])


@contextmanager
def _hidden(hide: Redactor) -> Iterator[None]:
    """What stores say of an error may hold anything."""
    try:
        yield
    except UsageError as error:
        raise UsageError(hide.text(str(error))) from None
    except HarnessTrouble as error:
        raise HarnessTrouble(hide.text(str(error))) from None


def _health_document(health: operators.Health) -> dict[str, Any]:
    return {
        "at_rest": health.certain,
        "empty": health.empty,
        "why_not": health.reading.why(),
        "documents": sum(map(len, health.reading.snapshot.mongo.values())),
        "keys": len(health.reading.snapshot.etcd),
        "violations": [
            {
                "invariant": one.invariant,
                "grade": one.grade.value,
                "where": one.where,
                "sentence": one.sentence,
                "why": named(one.invariant).why,
                "repair": named(one.invariant).repair,
            }
            for one in health.violations
        ],
    }


def _print_health(health: operators.Health, hide: Redactor) -> None:
    by_name: dict[str, list[Violation]] = {}
    for violation in health.violations:
        by_name.setdefault(violation.invariant, []).append(violation)
    for name, violations in by_name.items():
        invariant = named(name)
        _say(f"{invariant.grade.value:<8} {name}: {invariant.why}")
        for one in violations:
            _say(hide.text(f"    {one.where}"))
            _say(hide.text(f"        {one.sentence}"))
        _say(f"    repair: {invariant.repair}")
    snapshot = health.reading.snapshot
    documents = counted(sum(map(len, snapshot.mongo.values())), "document")
    grades = Counter(one.grade for one in health.violations)
    found = [f"{grades[grade]} {grade.value}" for grade in (Grade.BLOCKER, Grade.FAIL, Grade.WARN) if grades[grade]]
    seen = f"{documents} in mongo, {counted(len(snapshot.etcd), 'key')} in etcd: {', '.join(found) or 'consistent'}"
    _say(seen)
    if health.empty:
        _say("both stores are empty: they were wiped, EMCO was never used, or this is not EMCO's database")
    if not health.certain:
        why = f"not at rest, so only what holds at any time was judged: {health.reading.why()}"
        _say(hide.text(why))


def _say(text: str) -> None:
    """A line as it is, however long: it may be a path or a key."""
    Console().print(text, highlight=False, markup=False, soft_wrap=True)


def _totals(manifest: Manifest) -> str:
    documents = sum(one.count for one in manifest.members if one.name.startswith("mongo/"))
    keys = sum(one.count for one in manifest.members if one.name.startswith("etcd/"))
    names = sorted(one.of for one in manifest.members if one.name.startswith("extras/"))
    secret = f", secrets {', '.join(names)}" if names else ""
    prints = f", fingerprint of {', '.join(sorted(manifest.fingerprints))}" if manifest.fingerprints else ""
    return f"{counted(documents, 'document')} and {counted(keys, 'key')}{secret}{prints}"


def _manifest_document(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": manifest.format,
        "created": manifest.created,
        "versions": manifest.versions,
        "members": [
            {"name": one.name, "of": one.of, "bytes": one.bytes, "count": one.count, "sha256": one.sha256}
            for one in manifest.members
        ],
        "fingerprints": sorted(manifest.fingerprints),
    }
