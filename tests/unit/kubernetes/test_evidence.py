"""What is kept of a cluster when something went wrong, from an API server of the test's own."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from harness.evidence.redaction import redactor
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.evidence import ClusterEvidence, kept_on_failure
from harness.stores.mongo import StoreError
from harness.wire.links import RelayError

SECRET = "a-sentinel-that-is-secret"
ENVIRONMENT_SECRET, STORED_SECRET, TOKEN = "hunter2-sentinel", "stored-sentinel", "token-sentinel"
ENVIRONMENT = [
    {"name": "DB_EMCO_PASSWORD", "value": ENVIRONMENT_SECRET},
    {"name": "EMCO_DATA_KEY", "value": ENVIRONMENT_SECRET[::-1]},
    {"name": "APP_NAME", "value": "dcm"},
]
POD = {
    "metadata": {"name": "dcm-1", "uid": "u1", "managedFields": ["noise"]},
    "spec": {"containers": [{"name": "dcm", "env": ENVIRONMENT}]},
    "status": {"phase": "Pending"},
}
STORED = {"type": "Opaque", "data": {"dbkey": base64.b64encode(STORED_SECRET.encode()).decode(), "user": "cm9vdA=="}}
SECRETS = (SECRET, ENVIRONMENT_SECRET, ENVIRONMENT_SECRET[::-1], STORED_SECRET, TOKEN)
EVENT = {
    "metadata": {},
    "lastTimestamp": "2026-01-14T09:30:00Z",
    "type": "Warning",
    "reason": "Failed",
    "message": f"no image; PASSWORD is {SECRET}",
    "count": 3,
    "involvedObject": {"kind": "Pod", "name": "dcm-1", "uid": "u1"},
}


def cluster() -> web.Application:
    """A namespace `emco` with one pod that was started twice, and none other."""

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/events"):
            return web.json_response({"items": [EVENT]})
        if request.path.endswith("/secrets"):
            return web.json_response({"items": [STORED]})
        if request.path.endswith("/pods"):
            return web.json_response({"items": [POD]})
        if request.path.endswith("/nodes"):
            return web.json_response({"items": [{"metadata": {"name": "n"}, "status": {"nodeInfo": {"os": "x"}}}]})
        if request.path.endswith("/namespaces"):
            names = ("default", "kube-system", "local-path-storage", "gone")
            return web.json_response({"items": [{"metadata": {"name": name}} for name in names]})
        return web.Response(
            text="the one before"
            if request.query["previous"] == "true"
            else f"now {SECRET} {STORED_SECRET} {TOKEN} root"
        )

    async def nothing(_: web.Request) -> web.Response:
        return web.json_response({"message": "no such namespace"}, status=404)

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/gone/{rest:.*}", nothing)
    app.router.add_get("/{rest:.*}", answer)
    return app


@asynccontextmanager
async def evidence(
    folder: Path, export: Callable[[Path], Awaitable[None]], edges: tuple[str, ...] = ()
) -> AsyncIterator[ClusterEvidence]:
    runner = web.AppRunner(cluster())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api = ApiClient("hub", Access(runner.addresses[0][:2], None))

    async def versions() -> dict[str, str]:
        return {"kind": "v1"}

    known = redactor(salt=b"salt", environment={"DB_PASSWORD": SECRET})
    try:
        one = ClusterEvidence(api, ("emco", "gone"), folder, known, export=export, versions=versions)
        one.knows(TOKEN, "")
        for edge in edges:
            one.beside(edge, api)
        yield one
    finally:
        await api.close()
        await runner.cleanup()


async def fails(_: Path) -> None:
    raise HarnessTrouble("kind is gone")


def kept(
    folder: Path,
    *about: str,
    export: Callable[[Path], Awaitable[None]] = fails,
    edges: tuple[str, ...] = (),
) -> list[Path]:
    async def keep() -> list[str]:
        async with evidence(folder, export, edges) as one:
            return [await one.keep(name) for name in about]

    return [Path(place) for place in asyncio.run(keep()) if place]


def test_events_states_logs_and_versions_are_kept_without_secrets(tmp_path: Path) -> None:
    (place,) = kept(tmp_path, "clm/x@after:y.crash")
    files = {file.name: file.read_text(encoding="utf-8") for file in place.iterdir()}

    assert files["emco.dcm-1.previous.log"] == "the one before"
    assert files["emco.events.txt"].startswith("2026-01-14T09:30:00Z Warning 3x Pod dcm-1: Failed: no image")
    pod = yaml.safe_load(files["emco.dcm-1.yaml"])
    assert pod["status"] == {"phase": "Pending"}
    assert len(pod["events"]) == 1
    assert "managedFields" not in pod["metadata"]
    assert json.loads(files["versions.json"]) == {"nodes": {"n": {"os": "x"}}, "kind": "v1"}
    (container,) = pod["spec"]["containers"]
    assert container["env"][2] == {"name": "APP_NAME", "value": "dcm"}
    assert [one["value"][:8] for one in container["env"][:2]] == ["[masked ", "[masked "]
    assert "root" in files["emco.dcm-1.log"]
    assert not [name for name, text in files.items() if any(secret in text for secret in SECRETS)]


def test_of_an_edge_all_is_kept_that_is_not_the_clusters_own(tmp_path: Path) -> None:
    (place,) = kept(tmp_path, "x", edges=("p1+c1",))
    files = {file.name: file.read_text(encoding="utf-8") for file in (place / "edge-p1+c1").iterdir()}
    assert sorted(files) == [
        "default.dcm-1.log", "default.dcm-1.previous.log", "default.dcm-1.yaml", "default.events.txt",
        "gone.missing.txt", "gone.secrets.missing.txt",
    ]  # fmt: skip
    assert not [name for name, text in files.items() if any(secret in text for secret in SECRETS)]


def test_what_cannot_be_had_is_said_and_hides_nothing(tmp_path: Path) -> None:
    (place,) = kept(tmp_path, "install")
    assert "no such namespace" in (place / "gone.missing.txt").read_text(encoding="utf-8")
    assert (place / "kind.missing.txt").read_text(encoding="utf-8") == "kind is gone"


def test_it_is_kept_a_few_times_and_no_more(tmp_path: Path) -> None:
    places = kept(tmp_path, *(f"point-{number}" for number in range(9)))
    assert len(places) == 5
    assert len(set(places)) == 5


EXPORTED = {
    "inspect.json": json.dumps({"Config": {"Env": [f"DB_EMCO_PASSWORD={ENVIRONMENT_SECRET}", f"X={STORED_SECRET}"]}}),
    "node/journal.log": f"HTTP_PROXY=http://me:{ENVIRONMENT_SECRET}@proxy:3128\nPASSWORD: {SECRET}\nkubelet began\n",
    f"node/pods/emco_{TOKEN}.log": f"relay has {TOKEN}\n" + "a line of a long log\n" * 100_000 + STORED_SECRET,
}


async def exported(folder: Path) -> None:
    for name, text in EXPORTED.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "core").write_bytes(b"\x00" + SECRET.encode())
    (folder / "link").symlink_to(__file__)


def test_what_kind_exports_is_taken_over_without_secrets_and_without_what_is_no_text(tmp_path: Path) -> None:
    (place,) = kept(tmp_path, "install", export=exported)
    files = {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}

    assert b"kubelet began" in files["kind/node/journal.log"]
    assert len([name for name in files if name.startswith("kind/")]) == len(EXPORTED)
    assert files["kind.missing.txt"] == b"left out, as they are no text: core, link"
    found = [(name, secret) for name, text in files.items() for secret in SECRETS if secret.encode() in text]
    assert found == []
    assert not [name for name in files if TOKEN in name]


def test_an_export_that_fails_half_way_leaves_nothing_in_clear(tmp_path: Path) -> None:
    async def half(folder: Path) -> None:
        await exported(folder)
        raise HarnessTrouble("kind is gone")

    (place,) = kept(tmp_path, "install", export=half)
    assert (place / "kind.missing.txt").read_text(encoding="utf-8").startswith("kind is gone\n")
    texts = [file.read_bytes() for file in place.rglob("*") if file.is_file()]
    assert not [text for text in texts for secret in SECRETS if secret.encode() in text]


@pytest.mark.parametrize("trouble", [HarnessTrouble("no relay"), RelayError("no relay"), StoreError("no relay")])
def test_trouble_of_an_installation_says_where_its_evidence_is(tmp_path: Path, trouble: Exception) -> None:
    async def install() -> None:
        async with evidence(tmp_path, fails) as one, kept_on_failure(one, "opening"):
            raise trouble

    with pytest.raises(HarnessTrouble, match=r"no relay; evidence: .*/cluster/1-opening"):
        asyncio.run(install())
    assert (tmp_path / "cluster" / "1-opening" / "emco.events.txt").exists()


def test_where_no_evidence_is_kept_trouble_is_all_the_same(tmp_path: Path) -> None:
    async def install() -> None:
        async with kept_on_failure(None, "opening"):
            raise HarnessTrouble("no relay")

    with pytest.raises(HarnessTrouble, match=r"^no relay$"):
        asyncio.run(install())
