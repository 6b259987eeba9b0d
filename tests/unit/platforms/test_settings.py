"""Settings that cannot be are refused with a sentence, before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from harness.faults.victim import UsageError
from harness.platforms.settings import Settings


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "w.yaml"
    path.touch()
    return path


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"faults": ("crash", "earthquake")}, "unknown fault 'earthquake'; known: crash, disconnect, none"),
        ({"faults": ()}, "unknown fault ''; known: crash, disconnect, none"),
        ({"workers": 0}, "0 workers: a number from 1 to 64 is expected"),
        ({"workers": 65}, "65 workers: a number from 1 to 64 is expected"),
        ({"emco_bin": Path("/bin"), "reference": "fixed"},
         "--reference chooses defects of the reference EMCO; it has no meaning with --emco-bin"),
        ({"workers": 2, "mongo_uri": "mongodb://127.0.0.1:1"},
         "workers need stores of their own: with --mongo-uri or --etcd-endpoint only one worker can run"),
        ({"workers": 2, "etcd_endpoint": "127.0.0.1:1"},
         "workers need stores of their own: with --mongo-uri or --etcd-endpoint only one worker can run"),
        ({"mongo_uri": "mongodb://127.0.0.1"},
         "--mongo-uri mongodb://127.0.0.1: a host and a port are expected, as in mongodb://127.0.0.1:27017"),
        ({"mongo_uri": "mongodb://u:secret@127.0.0.1:port"},
         "--mongo-uri mongodb://u:***@127.0.0.1:port: a host and a port are expected, as in mongodb://127.0.0.1:27017"),
        ({"mongo_uri": "mongodb://a:1,b:2/"},
         "--mongo-uri mongodb://a:1,b:2/: a host and a port are expected, as in mongodb://127.0.0.1:27017"),
        ({"etcd_endpoint": "localhost"},
         "--etcd-endpoint localhost: a host and a port are expected, as in mongodb://127.0.0.1:27017"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_refusals(workload: Path, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        Settings(workload, **given)
    assert sentence == str(error.value)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_workload_that_is_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^--workload .*: no such file$"):
        Settings(tmp_path / name)


@pytest.mark.parametrize(
    "given, store, address",
    [
        ({}, "mongo", None),
        ({"mongo_uri": "mongodb://u:p@db.local:27018/?x=1"}, "mongo", ("db.local", 27018)),
        ({"mongo_uri": "mongodb://127.0.0.1:1"}, "etcd", None),
        ({"etcd_endpoint": "127.0.0.1:2379"}, "etcd", ("127.0.0.1", 2379)),
        ({"etcd_endpoint": "http://127.0.0.1:2379"}, "etcd", ("127.0.0.1", 2379)),
    ],
)
def test_where_a_store_is(workload: Path, given: dict[str, str], store: str, address: tuple[str, int] | None) -> None:
    assert address == Settings(workload, **given).store_address(store)  # type: ignore[arg-type]  # two options


def test_what_a_summary_shows_has_no_password(workload: Path) -> None:
    shown = Settings(workload, mongo_uri="mongodb://u:secret@127.0.0.1:1").as_json()
    assert (shown["mongo_uri"], shown["workload"]) == ("mongodb://u:***@127.0.0.1:1", str(workload))
    assert "secret" not in str(shown)


def test_what_a_plan_covers_goes_by_victim_and_fault(workload: Path) -> None:
    settings = Settings(workload, faults=("crash", "none"), victims=("called", "rsync"))
    assert settings.others == ("rsync",)
    assert settings.covers("dcm/x/create-y@after:mongo.data.crash")
    assert settings.covers("dcm/x/create-y@after:rsync:etcd.put:a/b.crash")
    assert not settings.covers("dcm/x/create-y@after:mongo.data.disconnect")
    assert not Settings(workload).covers("dcm/x/create-y@after:rsync:etcd.put:a/b.crash")
