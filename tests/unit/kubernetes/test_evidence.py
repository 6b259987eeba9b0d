"""What is kept of a cluster when something went wrong, from an API server of the test's own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from aiohttp import web

from harness.evidence.redaction import redactor
from harness.faults.victim import HarnessTrouble
from harness.platforms.edges.access import Access
from harness.platforms.edges.client import ApiClient
from harness.platforms.kubernetes.evidence import ClusterEvidence

SECRET = "a-sentinel-that-is-secret"
POD = {"metadata": {"name": "dcm-1", "uid": "u1", "managedFields": ["noise"]}, "status": {"phase": "Pending"}}
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
        if request.path.endswith("/pods"):
            return web.json_response({"items": [POD]})
        if request.path.endswith("/nodes"):
            return web.json_response({"items": [{"metadata": {"name": "n"}, "status": {"nodeInfo": {"os": "x"}}}]})
        return web.Response(text="the one before" if request.query["previous"] == "true" else f"now {SECRET}")

    async def nothing(_: web.Request) -> web.Response:
        return web.json_response({"message": "no such namespace"}, status=404)

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/gone/{rest:.*}", nothing)
    app.router.add_get("/{rest:.*}", answer)
    return app


@asynccontextmanager
async def evidence(folder: Path) -> AsyncIterator[ClusterEvidence]:
    runner = web.AppRunner(cluster())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api = ApiClient("hub", Access(runner.addresses[0][:2], None))

    async def export(_: Path) -> None:
        raise HarnessTrouble("kind is gone")

    async def versions() -> dict[str, str]:
        return {"kind": "v1"}

    known = redactor(salt=b"salt", environment={"DB_PASSWORD": SECRET})
    try:
        yield ClusterEvidence(api, ("emco", "gone"), folder, known, export=export, versions=versions)
    finally:
        await api.close()
        await runner.cleanup()


def kept(folder: Path, *about: str) -> list[Path]:
    async def keep() -> list[str]:
        async with evidence(folder) as one:
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
    assert not [name for name, text in files.items() if SECRET in text]


def test_what_cannot_be_had_is_said_and_hides_nothing(tmp_path: Path) -> None:
    (place,) = kept(tmp_path, "install")
    assert "no such namespace" in (place / "gone.missing.txt").read_text(encoding="utf-8")
    assert (place / "kind.missing.txt").read_text(encoding="utf-8") == "kind is gone"


def test_it_is_kept_a_few_times_and_no_more(tmp_path: Path) -> None:
    places = kept(tmp_path, *(f"point-{number}" for number in range(9)))
    assert len(places) == 5
    assert len(set(places)) == 5
