"""check, backup, restore, backup-info as an operator types them, against real stores with a small EMCO in them."""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pymongo
import pytest

from harness import operators
from harness.cli import main
from harness.faults.victim import HarnessTrouble
from harness.stores.etcd import Etcd
from harness.stores.mongo import Mongo
from harness.stores.snapshot import Snapshot

from ..unit.emco.small_emco import CLOUD, DIG, QUEUE, Emco
from ..unit.stores.conftest import HOST, etcd_command, free_port, mongo_command, running

# pymongo leaves its monitor's socket to the garbage collector when it is closed while it connects.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PROGRAM = Path(sys.executable).parent / "emco-chaos"
SENTINEL = "s3nt1nel-of-the-operator"
QUICK = ("--limit", "0.3", "--pause", "0.1")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Database:
    """One mongo and one etcd, and what an operator does with them."""

    def __init__(self, mongo: int, etcd: int) -> None:
        self.mongo, self.etcd = mongo, etcd
        self.options = ("--mongo-uri", f"mongodb://{HOST}:{mongo}", "--etcd-endpoint", f"{HOST}:{etcd}")

    def __call__(self, command: str, *arguments: str | Path) -> Ended:
        """The command line in this process."""
        out, err = StringIO(), StringIO()
        before, sys.argv = sys.argv, ["emco-chaos", command, *map(str, arguments)]
        code: Any = 0
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = before
            gc.collect()
        return Ended(int(code or 0), out.getvalue(), err.getvalue())

    def hold(self, content: Snapshot) -> None:
        asyncio.run(self._hold(content))

    async def _hold(self, content: Snapshot) -> None:
        etcd = Etcd(HOST, self.etcd)
        async with Mongo(HOST, self.mongo) as mongo:
            await mongo.unmark()
            await mongo.restore(content.mongo)
        await etcd.unmark()
        await etcd.restore(content.etcd)
        await etcd.close()

    def holds(self) -> tuple[Any, Any]:
        return asyncio.run(self._holds())

    async def _holds(self) -> tuple[Any, Any]:
        etcd = Etcd(HOST, self.etcd)
        try:
            async with Mongo(HOST, self.mongo) as mongo:
                return await mongo.snapshot(), await etcd.snapshot()
        finally:
            await etcd.close()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    mongo, etcd = free_port(), free_port()
    with (
        running(mongo_command(tmp_path_factory.mktemp("mongo"), mongo, "--standalone"), mongo),
        running(etcd_command(tmp_path_factory.mktemp("etcd"), etcd), etcd),
    ):
        yield Database(mongo, etcd)


EMPTY = Snapshot("", {}, {}, {})


@pytest.fixture
def database(servers: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Stores that hold a small EMCO."""
    for name in ("EMCO_CHAOS_MONGO_URI", "EMCO_CHAOS_ETCD_USER", "EMCO_CHAOS_ETCD_PASSWORD", "EMCO_DATA_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    servers.hold(Emco().snapshot())
    return servers


# -- check ----------------------------------------------------------------------------------------------------------


def test_a_consistent_emco_is_called_so_and_nothing_is_written(database: Database) -> None:
    before = database.holds()
    ended = database("check", *database.options, *QUICK)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "15 documents in mongo, 29 keys in etcd: consistent\n"
    assert database.holds() == before


def damaged(change: Callable[[Emco], Any]) -> Snapshot:
    emco = Emco()
    change(emco)
    return emco.snapshot()


def test_what_is_broken_is_shown_with_reason_and_repair(database: Database) -> None:
    database.hold(damaged(lambda emco: emco.find("app1").pop("appcontent")))
    ended = database("check", *database.options, *QUICK)
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "fail     I2-content: An app without its chart or a profile without its files fails at instantiate.",
        "    mongo emco.resources {app,compositeApp,compositeAppVersion,project} app1/ca1/v1/proj1",
        "        it has no appcontent",
        "    repair: PUT it, or DELETE and POST it again",
        "15 documents in mongo, 29 keys in etcd: 1 fail",
    ]
    document = json.loads(database("check", *database.options, *QUICK, "--json").out)
    assert [one["invariant"] for one in document["violations"]] == ["I2-content"]
    assert (document["at_rest"], document["documents"], document["keys"]) == (True, 15, 29)


def test_a_warning_alone_is_no_failure(database: Database) -> None:
    database.hold(damaged(lambda emco: emco.etcd.update({"/context/4000000004/meta/": {}})))
    ended = database("check", *database.options, *QUICK)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "15 documents in mongo, 30 keys in etcd: 1 warn")


def test_empty_stores_are_said_to_be_empty(database: Database) -> None:
    database.hold(EMPTY)
    ended = database("check", *database.options, *QUICK)
    assert (ended.code, ended.out.splitlines()[-2:]) == (
        1,
        [
            "0 documents in mongo, 0 keys in etcd: 1 blocker",
            "both stores are empty: they were wiped, EMCO was never used, or this is not EMCO's database",
        ],
    )
    document = json.loads(database("check", *database.options, *QUICK, "--json").out)
    assert (document["empty"], [one["invariant"] for one in document["violations"]]) == (True, ["I12-schema"])


def pending(emco: Emco) -> None:
    emco.put(DIG, QUEUE, {"AcQueue": [{"event": "Terminate", "status": "Pending"}]})
    emco.status(DIG, "Terminating")
    emco.find("app1").pop("appcontent")


def test_an_emco_at_work_is_judged_by_what_holds_at_any_time_and_said_to_be(database: Database) -> None:
    database.hold(damaged(pending))
    ended = database("check", *database.options, *QUICK)
    assert ended.code == 3
    assert "I2-content" in ended.out
    assert "context-" not in ended.out
    assert (
        f"not at rest, so only what holds at any time was judged: rsync has Terminate pending in /context/{DIG}/"
        in (ended.out)
    )


# -- backup and restore ---------------------------------------------------------------------------------------------


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run([PROGRAM, *command], check=False, capture_output=True, text=True, env=environment, timeout=60)


def test_what_was_backed_up_comes_back_into_empty_stores(database: Database, tmp_path: Path) -> None:
    """As a user: processes of their own."""
    before = database.holds()
    made = run("backup", tmp_path / "b", *database.options, *QUICK)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f"{tmp_path / 'b'}: 15 documents and 29 keys\n"
    database.hold(EMPTY)
    done = run("restore", tmp_path / "b", *database.options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("restored 15 documents and 29 keys, read back and found equal\n")
    assert database.holds() == before
    info = run("backup-info", tmp_path / "b")
    assert "mongo/emco.resources.bson: 15 entries" in info.stdout


def test_one_store_alone_is_no_pair(database: Database, tmp_path: Path) -> None:
    for command in ("check", "backup", "restore"):
        file = () if command == "check" else (tmp_path / "b",)
        for given, missing in ((database.options[:2], "--etcd-endpoint"), (database.options[2:], "--mongo-uri")):
            ended = database(command, *file, *given)
            assert (ended.code, ended.out) == (2, "")
            assert f"{missing} is missing: EMCO's database is mongo and etcd together" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_backup_is_refused_by_its_member_and_nothing_is_touched(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "b"
    database("backup", file, *database.options, *QUICK)
    raw = bytearray(file.read_bytes())
    raw[raw.index(b"appcontent")] ^= 1
    file.write_bytes(raw)
    database.hold(EMPTY)
    for command in (("restore", file, *database.options), ("backup-info", file)):
        ended = database(*map(str, command))
        assert ended.code == 2
        assert f"{file}: corrupted backup: member mongo/emco.resources.bson: sha256 differs" in ended.err
    assert database.holds() == ({}, {})


def test_stores_that_are_not_empty_need_an_explicit_yes(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "b"
    database("backup", file, *database.options, *QUICK)
    original = database.holds()
    database.hold(damaged(lambda emco: emco.find("app1").pop("appcontent")))
    other = database.holds()
    for options, why in (
        ((), "the stores are not empty"),
        (("--replace",), "do not both carry the harness's marker"),
        (("--yes",), "--yes without --replace"),
    ):
        ended = database("restore", file, *database.options, *options)
        assert ended.code == 2
        assert why in ended.err
        assert database.holds() == other
    assert database("restore", file, *database.options, "--replace", "--yes").code == 0
    assert database.holds() == original


def test_an_emco_at_work_is_not_backed_up(database: Database, tmp_path: Path) -> None:
    database.hold(damaged(pending))
    ended = database("backup", tmp_path / "b", *database.options, *QUICK)
    assert ended.code == 3
    assert f"did not come to rest within 0.3 s: rsync has Terminate pending in /context/{DIG}/" in ended.err
    assert list(tmp_path.iterdir()) == []
    ended = database("backup", tmp_path / "b", *database.options, *QUICK, "--even-pending")
    assert ended.code == 0
    assert "what was backed up is broken in" in ended.out


def test_a_backup_is_not_overwritten(database: Database, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    ended = database("backup", tmp_path / "b", *database.options, *QUICK)
    assert ended.code == 2
    assert "is there already, and backups are not overwritten" in ended.err
    assert (tmp_path / "b").read_text() == "mine"
    assert database("backup", tmp_path / "none" / "b", *database.options, *QUICK).code == 2


# -- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["keep", "fingerprint"])
def test_another_data_key_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    file = tmp_path / "b"
    monkeypatch.setenv("EMCO_DATA_KEY", SENTINEL)
    key = ("--data-key-env", "EMCO_DATA_KEY")
    made = database("backup", file, *database.options, *QUICK, *key, "--data-key", how)
    assert made.code == 0
    assert (SENTINEL.encode() in file.read_bytes()) == (how == "keep")
    database.hold(EMPTY)
    monkeypatch.setenv("EMCO_DATA_KEY", "another")
    ended = database("restore", file, *database.options, *key)
    assert ended.code == 2
    assert "the secret data-key is not the one" in ended.err
    assert database.holds() == ({}, {})
    without = database("restore", file, *database.options)
    assert without.code == (0 if how == "keep" else 2)
    assert ("--secrets-to DIR writes it" in without.out) == (how == "keep")
    monkeypatch.setenv("EMCO_DATA_KEY", SENTINEL)
    assert database("restore", file, *database.options, *key, "--replace", "--yes").code == 0


def test_secrets_are_kept_written_to_a_private_folder_and_never_shown(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder, secret = tmp_path / "b", tmp_path / "secrets", tmp_path / "rootPassword"
    secret.write_text(f"{SENTINEL}-root")
    monkeypatch.setenv("EMCO_DATA_KEY", f"{SENTINEL}-key")
    ended = [
        database(
            "backup", file, *database.options, *QUICK, "--data-key-env", "EMCO_DATA_KEY", "--secret", f"root={secret}"
        ),
        database("backup-info", file),
        database("backup-info", file, "--json"),
    ]
    database.hold(EMPTY)
    ended.append(database("restore", file, *database.options, "--secrets-to", folder))
    assert [one.code for one in ended] == [0, 0, 0, 0]
    assert "secrets data-key, root" in ended[0].out
    assert [SENTINEL in one.out + one.err for one in ended] == [False] * 4
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "data-key": f"{SENTINEL}-key", "root": f"{SENTINEL}-root"
    }  # fmt: skip
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir(), file)] == [
        "0o700", "0o600", "0o600", "0o600"
    ]  # fmt: skip


def test_passwords_come_by_environment_or_file_and_are_never_shown(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"mongodb://emco:{SENTINEL}@{HOST}:{database.mongo}/?authSource=emco"
    monkeypatch.setenv("EMCO_CHAOS_ETCD_PASSWORD", f"{SENTINEL}-etcd")
    by_hand = database("check", "--mongo-uri", uri, *database.options[2:], *QUICK)
    assert by_hand.code == 2
    assert "give the URI by EMCO_CHAOS_MONGO_URI or --mongo-uri-file" in by_hand.err
    (tmp_path / "uri").write_text(uri + "\n")
    by_file = database("check", "--mongo-uri-file", tmp_path / "uri", *database.options[2:], *QUICK)
    monkeypatch.setenv("EMCO_CHAOS_MONGO_URI", uri)
    by_variable = database("check", *database.options[2:], *QUICK)
    user = database("check", *database.options[2:], *QUICK, "--etcd-user", "root")
    assert [one.code for one in (by_file, by_variable, user)] == [3, 3, 3]  # these stores know no users
    broken = database("check", "--mongo-uri-file", tmp_path / "uri", "--etcd-endpoint", "nowhere", *QUICK)
    monkeypatch.setenv("EMCO_CHAOS_MONGO_URI", f"mongodb://emco:{SENTINEL}%@{HOST}:{database.mongo}")
    malformed = database("check", *database.options[2:], *QUICK)
    assert (broken.code, malformed.code) == (2, 2)
    for one in (by_hand, by_file, by_variable, user, broken, malformed):
        assert SENTINEL not in one.out + one.err


@pytest.mark.parametrize(
    "options, why",
    [
        (("--data-key-env", "NONE_OF_THESE"), "no such variable, or it is empty"),
        (("--data-key", "fingerprint"), "the key that --data-key-env names; name it"),
        (("--data-key", "hide"), "keep or fingerprint is expected"),
        (("--secret", "root"), "NAME=FILE is expected"),
        (("--secret", "root=/none/of/these"), "cannot be read: No such file"),
        (("--secret", "data-key=/dev/null"), "the name is taken"),
        (("--limit", "0.2", "--pause", "0.5"), "the time between two readings"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(
    database: Database, tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    ended = database("backup", tmp_path / "b", *database.options, *options)
    assert ended.code == 2
    assert why in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_does_not_answer_is_trouble(database: Database) -> None:
    port = free_port()
    ended = database("check", *database.options[:2], "--etcd-endpoint", f"{HOST}:{port}", *QUICK)
    assert ended.code == 3
    assert f"etcd at {HOST}:{port} does not answer" in ended.err


def test_a_restored_emco_is_consistent_again(database: Database, tmp_path: Path) -> None:
    """A wipe in the small: backed up, damaged in both stores, restored, judged."""
    database("backup", tmp_path / "b", *database.options, *QUICK)
    database.hold(damaged(lambda emco: emco.drop(CLOUD)))
    assert database("check", *database.options, *QUICK).code == 1
    assert database("restore", tmp_path / "b", *database.options, "--replace", "--yes").code == 0
    assert database("check", *database.options, *QUICK).code == 0
    with pymongo.MongoClient[dict[str, Any]](HOST, database.mongo, directConnection=True) as client:
        assert client.list_database_names() == ["emco"]


def test_a_signal_ends_it_with_a_sentence() -> None:
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    with pytest.raises(HarnessTrouble, match="it was interrupted; nothing was written"):
        operators._run(work())
