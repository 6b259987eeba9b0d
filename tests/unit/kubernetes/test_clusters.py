"""Clusters that are made leave nothing when that goes wrong, and nobody else's are ever removed in their place.

docker and kind are stand-ins that keep a file for each container.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.faults.journal import MARKER, UNDOERS, Journal, RolledBack, left, rollback
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.access import Access
from harness.platforms.kind import clusters
from harness.platforms.kind.clusters import KIND_UNDOERS, UNDO, ClusterSet, Sets
from harness.platforms.kind.environment import open_clusters
from harness.platforms.kind.machine import MACHINE_UNDOERS, Machine
from harness.platforms.settings import KindSettings, Settings
from tests.unit.kubernetes.small_cluster import until

CONFIG = Path("of no meaning to a stand-in")
KINDS = {**UNDOERS, **KIND_UNDOERS}
KIND = """#!/bin/sh
cd {place}
echo "kind $*" >> said
[ -e "$1-$4-fails" ] && {{ echo "$1 of $4 is out of order" >&2; exit 1; }}
case "$1" in
    create) echo "id-$(date +%s%N)" > "$4.container"; [ -e create-takes-long ] && sleep 60 ;;
    delete) [ -e delete-takes-long ] && sleep 0.3; rm -f "$4.container" ;;
esac
exit 0
"""
DOCKER = """#!/bin/sh
cd {place}
echo "docker $*" >> said
[ -e docker-fails ] && {{ echo "no daemon" >&2; exit 1; }}
case "$*" in
    ps*--quiet*) cat "${{6##*=}}.container" 2>/dev/null ;;
    ps*) for one in *.container; do
        [ -e "$one" ] && printf '%s-control-plane\\t%s\\n' "${{one%.container}}" "${{one%.container}}"
    done ;;
    rm*) rm "removal-has-no-effect" 2>/dev/null && exit 0
        for one in *.container; do [ "$(cat "$one")" = "$4" ] && rm "$one"; done ;;
    inspect*) cat address ;;
esac
exit 0
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the stand-ins' state: a file for each container, `said`; and where a test says what is out of order."""
    place, programs = tmp_path / "docker", tmp_path / "bin"
    for folder in (place, programs):
        folder.mkdir()
    for name, text in (("kind", KIND), ("docker", DOCKER)):
        (programs / name).write_text(text.format(place=place), encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return place


def containers(docker: Path) -> list[str]:
    return sorted(path.stem for path in docker.glob("*.container"))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Of the run that a test is about."""
    with closing(Journal(tmp_path / "undo" / "1-1.undo", undoers=KINDS)) as made:
        yield made


async def test_a_set_that_was_made_is_removed_by_the_journal_of_a_run_that_was_killed(
    tmp_path: Path, docker: Path, journal: Journal
) -> None:
    made, _ = await Sets(tmp_path).create(KindSettings("x", edges=1), journal, config_folder=CONFIG)
    assert containers(docker) == ["x-edge-1", "x-hub"]
    told = rollback(journal.path, undoers=KINDS)
    assert told == RolledBack(
        ("cluster x-edge-1 removed", "cluster x-hub removed", f"folder {made.folder} removed"), ()
    )
    assert (containers(docker), made.folder.exists(), journal.path.exists()) == ([], False, False)


async def test_a_container_that_docker_only_says_it_removed_is_removed_again(
    tmp_path: Path, docker: Path, journal: Journal
) -> None:
    await Sets(tmp_path).create(KindSettings("x"), journal, config_folder=CONFIG)
    (docker / "removal-has-no-effect").touch()
    assert rollback(journal.path, undoers=KINDS).told[0] == "cluster x-hub removed"
    assert containers(docker) == []


async def test_clusters_of_several_sets_are_made_a_few_at_a_time(
    tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "made_at_once", lambda: 2)
    (docker / "create-takes-long").touch()
    journals = [Journal(tmp_path / "undo" / f"{number}-1.undo", undoers=KINDS) for number in range(2)]
    making = [
        asyncio.ensure_future(
            Sets(tmp_path).create(KindSettings("x", edges=1).of_worker(number), one, config_folder=CONFIG)
        )
        for number, one in enumerate(journals)
    ]
    await until(lambda: len(containers(docker)) == 2)
    await asyncio.sleep(0.5)  # as long as the others would have needed for two more, and twice that
    begun = containers(docker)
    making[0].cancel()
    await asyncio.wait({making[0]})
    await until(lambda: containers(docker) == ["x-w1-edge-1", "x-w1-hub"])
    making[1].cancel()
    await asyncio.wait(making)
    assert (len(begun), containers(docker)) == (2, [])
    for one in journals:
        assert left(one.path) == ()
        one.close()


async def test_whoever_interrupts_the_making_leaves_neither_containers_nor_undos(
    tmp_path: Path, docker: Path, journal: Journal
) -> None:
    (docker / "create-takes-long").touch()
    making = asyncio.ensure_future(Sets(tmp_path).create(KindSettings("x", edges=1), journal, config_folder=CONFIG))
    await until(lambda: len(containers(docker)) == 2)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    journal.close()
    assert (containers(docker), journal.path.exists(), (tmp_path / "kind" / "x").exists()) == ([], False, False)


async def test_a_second_interrupt_does_not_end_the_removal(tmp_path: Path, docker: Path, journal: Journal) -> None:
    (docker / "create-takes-long").touch()
    (docker / "delete-takes-long").touch()
    making = asyncio.ensure_future(Sets(tmp_path).create(KindSettings("x"), journal, config_folder=CONFIG))
    await until(lambda: containers(docker) == ["x-hub"])
    making.cancel()
    await until(lambda: "kind delete" in (docker / "said").read_text())
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert (containers(docker), left(journal.path)) == ([], ())


async def test_when_one_cluster_cannot_be_made_the_others_are_removed_and_it_is_said_why(
    tmp_path: Path, docker: Path, journal: Journal
) -> None:
    (docker / "create-x-edge-1-fails").touch()
    with pytest.raises(HarnessTrouble, match="create of x-edge-1 is out of order"):
        await Sets(tmp_path).create(KindSettings("x", edges=1), journal, config_folder=CONFIG)
    assert (containers(docker), left(journal.path)) == ([], ())


async def test_a_removal_that_fails_does_not_hide_why_the_making_failed(
    tmp_path: Path, docker: Path, journal: Journal
) -> None:
    (docker / "create-x-edge-1-fails").touch()
    (docker / "delete-x-hub-fails").touch()
    with pytest.raises(HarnessTrouble) as caught:
        await Sets(tmp_path).create(KindSettings("x", edges=1), journal, config_folder=CONFIG)
    said = str(caught.value)
    assert said.index("create of x-edge-1 is out of order") < said.index("delete of x-hub is out of order")
    assert "`emco-chaos rollback` does it" in said
    assert rollback(journal.path, undoers=KINDS).told[1] == "cluster x-hub removed"
    assert containers(docker) == []


async def test_a_removal_that_fails_does_not_hide_why_a_run_ended(tmp_path: Path, docker: Path) -> None:
    workload = tmp_path / "workload.yaml"
    workload.touch()
    kind = KindSettings("x", node_image="n", python_image="p")
    settings = Settings(workload, platform="kind", kind=kind, state_folder=tmp_path)
    with pytest.raises(HarnessTrouble, match=r"the relay is not ready; besides, .* delete of x-hub is out of order"):
        await _fails_in(settings, docker)


async def _fails_in(settings: Settings, docker: Path) -> None:
    async with open_clusters(settings, settings.state_folder / "undo" / "1-1.undo"):
        (docker / "delete-x-hub-fails").touch()
        raise HarnessTrouble("the relay is not ready")


async def test_a_cluster_that_is_there_still_after_its_removal_is_not_taken_for_removed(
    tmp_path: Path, docker: Path
) -> None:
    made = ClusterSet("x", tmp_path / "kind" / "x", 0)
    kind = Path(os.environ["PATH"].split(os.pathsep)[0]) / "kind"
    kind.write_text("#!/bin/sh\n", encoding="utf-8")
    (docker / "x-hub.container").write_text("id", encoding="utf-8")
    with pytest.raises(HarnessTrouble, match="the cluster x-hub is there still, although it was removed 3 times"):
        await Sets(tmp_path).delete(made)


def killed_up(tmp_path: Path, *, containers: str = "") -> Path:
    """The journal of an `up` that was killed; containers: ids, where it came so far."""
    folder = tmp_path / "kind" / "x"
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    more = {"containers": containers} if containers else {}
    with closing(Journal(tmp_path / "undo" / "0-0.undo", undoers=KINDS)) as undo:
        undo.record("kind-set", path=str(folder))
        undo.record(UNDO, cluster="x-hub", set=str(folder), **more)
    return undo.path


def test_what_a_killed_up_had_begun_is_removed_by_its_name(tmp_path: Path, docker: Path) -> None:
    (docker / "x-hub.container").write_text("id-1", encoding="utf-8")
    assert rollback(killed_up(tmp_path), undoers=KINDS).told[0] == "cluster x-hub removed"
    assert containers(docker) == []


@pytest.mark.parametrize("ids", ["", "id-old"], ids=["before it had containers", "with containers of its own"])
async def test_a_set_that_was_made_anew_and_kept_is_left_alone(
    tmp_path: Path, docker: Path, journal: Journal, ids: str
) -> None:
    old, sets = killed_up(tmp_path, containers=ids), Sets(tmp_path)
    made, undos = await sets.create(KindSettings("x"), journal, config_folder=CONFIG)
    sets.keep(made, journal, undos)
    told = rollback(old, undoers=KINDS)
    assert told.told == (
        "cluster x-hub left: it was made anew since, and is kept",
        f"folder {made.folder} left: its clusters were made anew since, and are kept",
    )
    assert (containers(docker), sets.get("x")) == (["x-hub"], made)


def test_containers_of_somebody_else_with_the_same_name_are_left_alone(tmp_path: Path, docker: Path) -> None:
    (docker / "x-hub.container").write_text("id-new", encoding="utf-8")
    assert rollback(killed_up(tmp_path, containers="id-old"), undoers=KINDS).told[0] == "cluster x-hub was gone already"
    assert containers(docker) == ["x-hub"]


async def test_a_set_that_is_in_use_is_left_alone_and_the_undo_kept(tmp_path: Path, docker: Path) -> None:
    (docker / "x-hub.container").write_text("id-1", encoding="utf-8")
    path = killed_up(tmp_path)
    with Sets(tmp_path).locked("x"):
        told = rollback(path, undoers=KINDS)
    assert (len(told.failed), len(left(path)), containers(docker)) == (2, 2, ["x-hub"])
    assert "the clusters x are in use by another run" in told.failed[0]


async def test_a_kept_set_that_was_removed_by_hand_does_not_keep_what_is_made_after_it(
    tmp_path: Path, docker: Path, journal: Journal
) -> None:
    folder = tmp_path / "kind" / "x"
    folder.mkdir(parents=True)
    (folder / "set.json").write_text(json.dumps({"edges": 0}), encoding="utf-8")
    await Sets(tmp_path).create(KindSettings("x"), journal, config_folder=CONFIG)
    assert rollback(journal.path, undoers=KINDS).told[0] == "cluster x-hub removed"
    assert containers(docker) == []


def test_without_a_daemon_the_undo_is_kept_with_what_docker_says(tmp_path: Path, docker: Path) -> None:
    (docker / "docker-fails").touch()
    path = killed_up(tmp_path)
    told = rollback(path, undoers=KINDS)
    assert [undo.kind for undo in left(path)] == [UNDO]
    assert told.failed[0].endswith("ended with exit code 1: no daemon")
    assert len(told.told) == 1


def test_without_docker_the_undo_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = killed_up(tmp_path)
    assert "No such file or directory: 'docker'" in rollback(path, undoers=KINDS).failed[0]
    assert [undo.kind for undo in left(path)] == [UNDO]


async def test_a_machine_that_is_off_is_put_back_without_waiting_for_it(tmp_path: Path, docker: Path) -> None:
    (docker / "address").write_text("172.18.0.3\n", encoding="utf-8")
    with closing(Journal(tmp_path / "1-1.undo", undoers=MACHINE_UNDOERS)) as undo:
        machine = Machine("x-edge-1-control-plane", Access(("127.0.0.1", 1), None), undo)
        await machine.disconnect()
        assert (machine.is_off, len(left(undo.path))) == (True, 1)
        await machine.rejoin()
        assert machine.is_off is False
    assert "docker network connect kind x-edge-1-control-plane" in (docker / "said").read_text().splitlines()
    assert not undo.path.exists()


@pytest.mark.parametrize(
    "said, told",
    [
        ("Error response from daemon: No such container: n", "n is gone"),
        ("endpoint with name n already exists in network kind", "n was on the network kind already"),
    ],
)
def test_a_machine_for_which_nothing_is_left_to_do_is_done(docker: Path, said: str, told: str) -> None:
    _say(said)
    assert MACHINE_UNDOERS["kind-network"]({"node": "n"}) == told


def test_a_machine_that_cannot_be_put_back_is_kept_in_the_journal(tmp_path: Path, docker: Path) -> None:
    _say("no daemon")
    with closing(Journal(tmp_path / "1-1.undo", undoers=MACHINE_UNDOERS)) as undo:
        undo.record("kind-network", node="n", address="172.18.0.3")
    assert rollback(undo.path, undoers=MACHINE_UNDOERS).failed == ("kind-network n 172.18.0.3: n: no daemon",)
    assert len(left(undo.path)) == 1


def _say(text: str) -> None:
    """Let docker fail with this."""
    program = Path(os.environ["PATH"].split(os.pathsep)[0]) / "docker"
    program.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n", encoding="utf-8")
