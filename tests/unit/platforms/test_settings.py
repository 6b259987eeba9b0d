"""Settings that cannot be are refused with a sentence, before anything starts."""

import os
from pathlib import Path
from typing import Any

import pytest

from harness.faults.victim import UsageError
from harness.platforms.edges.api_server import check_assets
from harness.platforms.settings import EdgeKubeconfig, KindSettings, Settings, parse_edge_kubeconfig, shown

THIS = Path(__file__)


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "w.yaml"
    path.touch()
    return path


@pytest.mark.parametrize(
    "given, sentence",
    [
        (
            {"faults": ("crash", "earthquake")},
            "unknown fault 'earthquake'; known: crash, disconnect, none, reset, error",
        ),
        ({"faults": ()}, "unknown fault ''; known: crash, disconnect, none, reset, error"),
        ({"workers": 0}, "0 workers: a number from 1 to 64 is expected"),
        ({"workers": 65}, "65 workers: a number from 1 to 64 is expected"),
        ({"emco_bin": Path("/bin"), "reference": "fixed"},
         "--reference chooses defects of the reference EMCO; it has no meaning with --emco-bin or --emco"),
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
        ({"emco_version": "22.09", "reference": "fixed", "platform": "kind"},
         "--reference chooses defects of the reference EMCO; it has no meaning with --emco-bin or --emco"),
        ({"emco_version": "22.09", "emco_images": "r/e"},
         "--emco-images is for kind; on processes `emco-chaos get-emco` takes a release from them"),
        ({"emco_images": "r/e", "platform": "kind"}, "--emco-images needs --emco VERSION: the tag of the images"),
        ({"charts": THIS.parent}, "--charts is for kind: charts install into clusters"),
        ({"charts": THIS.parent, "platform": "kind"}, "--charts needs --emco VERSION: EMCO's charts install real EMCO"),
        ({"store_charts": True, "platform": "kind"}, "--store-charts needs --charts: the folder that emco-db is in"),
        ({"store_charts": True}, "--charts is for kind: charts install into clusters"),
        ({"monitor_chart": THIS.parent, "platform": "kind", "emco_version": "22.09"},
         "--monitor-chart is for real EMCO with clusters as edges: --platform kind, --edges kind, --emco VERSION"),
        ({"patches": THIS}, "--patches is for kind and kubernetes: it patches what is made in a cluster"),
        ({"chart_values": (THIS,), "platform": "kind"}, "--chart-values needs --charts: values are for charts"),
        ({"kind": KindSettings(reuse=True)}, "--cluster, --keep and --reuse are for --platform kind"),
        ({"kind": KindSettings(name="two")}, "--cluster, --keep and --reuse are for --platform kind"),
        ({"node_access": "ssh", "platform": "kind"}, "--node-access ssh: auto or none is expected"),
        ({"cleanup_delay": "soon"}, "cleanup_delay is 'soon': seconds above 0 and up to 3600 are expected"),
        ({"cleanup_delay": "-1"}, "cleanup_delay is '-1': seconds above 0 and up to 3600 are expected"),
        ({"cleanup_delay": "nan"}, "cleanup_delay is 'nan': seconds above 0 and up to 3600 are expected"),
        ({"cleanup_delay": "8", "emco_bin": Path("/bin")},
         "cleanup_delay is 8: real rsync waits 120 s before it cleans up, and has no setting for it"),
        ({"edges": "k3s"}, "--edges k3s: emulator or kube-apiserver or kind is expected"),
        ({"edges": "kind"},
         "--edges kind goes with --platform kind; where EMCO runs as processes, --edge-kubeconfig names clusters"),
        ({"edges": "kube-apiserver", "platform": "kind"}, "on kind edges are emulator or kind, not kube-apiserver"),
        ({"edge_kubeconfigs": (EdgeKubeconfig("p1", "c1", Path("/missing")),)},
         "--edge-kubeconfig p1+c1=/missing: no such file"),
        ({"edge_kubeconfigs": (EdgeKubeconfig("p1", "c1", THIS, "a"), EdgeKubeconfig("p1", "c1", THIS, "b"))},
         "--edge-kubeconfig names p1+c1 twice"),
        ({"workers": 2, "edge_kubeconfigs": (EdgeKubeconfig("p1", "c1", THIS),)},
         "workers need edges of their own: with --edge-kubeconfig only one worker can run"),
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
    assert shown["mongo_uri"] == "mongodb://u:***@127.0.0.1:1"


def test_what_a_summary_shows_has_no_place_of_this_machine(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = workload.parent
    monkeypatch.setenv("HOME", str(home))
    (home / "here").mkdir()
    monkeypatch.chdir(home / "here")
    (home / "here" / "kubeconfig").touch()
    settings = Settings(
        workload,
        emco_bin=home.parent / "bin",
        edge_kubeconfigs=(parse_edge_kubeconfig("p1+c1=kubeconfig#kind-hub"),),
        state_folder=home / "state",
    )
    shown = settings.as_json()
    assert (shown["workload"], shown["emco_bin"]) == ("~/w.yaml", "../../bin")
    assert shown["edge_kubeconfigs"] == ["p1+c1=kubeconfig#kind-hub"]
    assert "state_folder" not in shown
    assert settings.replay("x") == (
        "emco-chaos replay 'x' --workload ~/w.yaml --emco-bin ../../bin --edge-kubeconfig 'p1+c1=kubeconfig#kind-hub'"
    )
    assert str(home) not in str(shown) + settings.replay("x")
    assert "secret" not in str(shown)


@pytest.mark.parametrize(
    "uri, option",
    [("mongodb://127.0.0.1:1", " --mongo-uri mongodb://127.0.0.1:1"), ("mongodb://u:sentinel@127.0.0.1:1", "")],
)
def test_a_replay_has_the_stores_of_its_run_and_no_password(workload: Path, uri: str, option: str) -> None:
    settings = Settings(workload, mongo_uri=uri, etcd_endpoint="127.0.0.1:2")
    assert settings.replay("x").partition("w.yaml")[2] == f"{option} --etcd-endpoint 127.0.0.1:2"


def test_clusters_by_kubeconfig() -> None:
    assert parse_edge_kubeconfig("p1+c1=/k/config#kind-hub") == EdgeKubeconfig(
        "p1", "c1", Path("/k/config"), "kind-hub"
    )
    assert parse_edge_kubeconfig("p1+c1=/k/config") == EdgeKubeconfig("p1", "c1", Path("/k/config"))
    for wrong in ("p1+c1", "p1/c1=/k", "+c1=/k", "p1+=/k", "p1+c1=", "p1+c1=#kind", ""):
        with pytest.raises(UsageError, match="PROVIDER\\+CLUSTER=FILE or PROVIDER\\+CLUSTER=FILE#CONTEXT is expected"):
            parse_edge_kubeconfig(wrong)


def test_each_of_several_workers_has_clusters_of_its_own_by_the_same_name_in_every_run(workload: Path) -> None:
    kind = KindSettings("x", edges=2, keep=True)
    run = Settings(workload, platform="kind", kind=kind, workers=2)
    assert [run.of_worker(number) for number in range(2)] == [
        Settings(workload, platform="kind", kind=KindSettings(name, edges=2, keep=True)) for name in ("x-w0", "x-w1")
    ]


def test_one_worker_has_the_clusters_of_the_name_and_processes_need_no_names(workload: Path) -> None:
    alone = Settings(workload, platform="kind", kind=KindSettings("x"))
    processes = Settings(workload, workers=2)
    assert (alone.of_worker(0), processes.of_worker(1)) == (alone, processes)


def test_the_replay_line_of_a_workers_point_reuses_its_clusters(workload: Path) -> None:
    run = Settings(workload, platform="kind", kind=KindSettings("x", reuse=True), workers=2)
    assert "--cluster x-w1 --reuse" in run.of_worker(1).replay("a@b")


def test_edges_are_in_the_replay_line(workload: Path) -> None:
    settings = Settings(
        workload, edges="kube-apiserver", edge_kubeconfigs=(EdgeKubeconfig("p1", "c1", THIS, "kind-hub"),)
    )
    edge = f"p1+c1={os.path.relpath(THIS)}#kind-hub"
    assert settings.replay("x").endswith(f" --edges kube-apiserver --edge-kubeconfig '{edge}'")


@pytest.mark.parametrize(
    "given,options",
    [
        ({"platform": "kind", "node_access": "none"}, " --platform kind --node-access none"),
        ({"platform": "kind"}, " --platform kind"),
        ({"node_access": "none"}, ""),  # by the environment: processes have no node
    ],
)
def test_that_nodes_are_left_alone_is_in_the_replay_line(workload: Path, given: dict[str, Any], options: str) -> None:
    settings = Settings(workload, **given)
    assert settings.replay("x").endswith(f"--workload {shown(workload)}{options}")
    assert settings.as_json()["node_access"] == settings.node_access


def test_what_an_api_server_is_started_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the environment variable KUBEBUILDER_ASSETS has to name the folder"):
        check_assets(None)
    for name in ("etcd", "kube-apiserver"):
        with pytest.raises(UsageError) as error:
            check_assets(tmp_path)
        assert str(error.value) == f"KUBEBUILDER_ASSETS {tmp_path}: no executable {name} in it"
        (tmp_path / name).touch(mode=0o755)
    assert check_assets(tmp_path) == tmp_path


def test_what_a_plan_covers_goes_by_victim_and_fault(workload: Path) -> None:
    settings = Settings(workload, faults=("crash", "none"), victims=("called", "rsync"))
    assert settings.others == ("rsync",)
    assert settings.covers("dcm/x/create-y@after:mongo.data.crash")
    assert settings.covers("dcm/x/create-y@after:rsync:etcd.put:a/b.crash")
    assert not settings.covers("dcm/x/create-y@after:mongo.data.disconnect")
    assert not Settings(workload).covers("dcm/x/create-y@after:rsync:etcd.put:a/b.crash")
