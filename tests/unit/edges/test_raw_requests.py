"""The emulator request by request: discovery, refusals, content types, patches, watches that end."""

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest

from harness.platforms.edge_emulator import EdgeEmulator

from .conftest import Raw, raw_edge
from .objects import bundle_state, config_map, deployment

MAPS = "/api/v1/namespaces/default/configmaps"
JSON = {"Content-Type": "application/json"}
WEB = "/apis/apps/v1/namespaces/default/deployments/web"


def test_discovery_lists_every_group_and_version_it_names() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            assert (await edge.ask("GET", "/api"))[1]["versions"] == ["v1"]
            core = (await edge.ask("GET", "/api/v1"))[1]
            assert core["groupVersion"] == "v1"
            assert {"pods", "pods/status", "configmaps", "namespaces"} <= {r["name"] for r in core["resources"]}
            groups = (await edge.ask("GET", "/apis"))[1]["groups"]
            assert {"apps", "batch", "k8splugin.io", "policy", "coordination.k8s.io"} <= {g["name"] for g in groups}
            for group in groups:
                assert (await edge.ask("GET", f"/apis/{group['name']}"))[1]["name"] == group["name"]
                assert group["preferredVersion"] in group["versions"]
                for version in group["versions"]:
                    path = f"/apis/{version['groupVersion']}"
                    status, resources = await edge.ask(
                        "GET", path, Accept="application/json;as=APIGroupDiscoveryList,application/json"
                    )
                    assert (status, resources["groupVersion"]) == (200, version["groupVersion"])
                    assert resources["kind"] == "APIResourceList"
                    assert resources["resources"]

    asyncio.run(story())


def test_health_and_version() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            for path in ("/healthz", "/readyz", "/livez"):
                async with edge.session.get(edge.url(path)) as answer:
                    assert (answer.status, await answer.text()) == (200, "ok")
            assert (await edge.ask("GET", "/version"))[1]["major"] == "1"

    asyncio.run(story())


@pytest.mark.parametrize(
    "method, path, body, code, reason",
    [
        ("GET", f"{MAPS}/none", None, 404, "NotFound"),
        ("GET", "/apis/none.org/v1/things", None, 404, "NotFound"),
        ("GET", "/api/v1/things", None, 404, "NotFound"),
        ("GET", "/openapi/v2", None, 404, "NotFound"),
        ("GET", f"{MAPS}/there/status", None, 404, "NotFound"),
        ("POST", "/api/v1/configmaps", config_map("c"), 405, "MethodNotAllowed"),
        ("POST", MAPS, config_map("there"), 409, "AlreadyExists"),
        ("POST", MAPS, config_map("Upper"), 422, "Invalid"),
        ("POST", MAPS, {"kind": "ConfigMap"}, 422, "Invalid"),
        ("POST", MAPS, deployment(), 400, "BadRequest"),
        ("POST", MAPS, [1], 400, "BadRequest"),
        ("POST", MAPS, b"{", 400, "BadRequest"),
        ("POST", MAPS, {"metadata": {"name": "c", "namespace": "kube-system"}}, 400, "BadRequest"),
        ("POST", MAPS, {"metadata": {"name": "c", "resourceVersion": "3"}}, 400, "BadRequest"),
        ("POST", f"{MAPS}?dryRun=Some", config_map("c"), 400, "BadRequest"),
        ("PUT", f"{MAPS}/none", config_map("none"), 404, "NotFound"),
        ("PUT", f"{MAPS}/there", config_map("other"), 400, "BadRequest"),
        ("DELETE", f"{MAPS}/there", {"preconditions": {"uid": "other"}}, 409, "Conflict"),
        ("DELETE", "/api/v1/namespaces", None, 405, "MethodNotAllowed"),
        ("GET", f"{MAPS}?labelSelector=a%3D%3D%3Db", None, 400, "BadRequest"),
        ("GET", f"{MAPS}?watch=1&resourceVersion=abc", None, 400, "BadRequest"),
        ("POST", "/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": "d"}}, 422, "Invalid"),
    ],
)
def test_refusals_are_status_objects_and_change_nothing(
    method: str, path: str, body: Any, code: int, reason: str
) -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            await edge.ask("POST", MAPS, config_map("there"))
            before = edge.emulator.objects()
            status, answer = await edge.ask(method, path, body, Content_Type="application/json")
            assert (status, answer["kind"], answer["code"], answer["reason"]) == (code, "Status", code, reason)
            assert answer["status"] == "Failure"
            assert answer["message"]
            assert edge.emulator.objects() == before

    asyncio.run(story())


def test_protobuf_is_refused_in_bodies_and_answered_with_json() -> None:
    async def story() -> None:
        protobuf = "application/vnd.kubernetes.protobuf"
        async with raw_edge() as edge:
            status, answer = await edge.ask("POST", MAPS, b"k8s\0", Content_Type=protobuf)
            assert (status, answer["reason"]) == (415, "UnsupportedMediaType")
            status, answer = await edge.ask("GET", MAPS, Accept=f"{protobuf},application/json")
            assert (status, answer["kind"]) == (200, "ConfigMapList")
            status, answer = await edge.ask("GET", MAPS, Accept=protobuf)
            assert (status, answer["reason"]) == (406, "NotAcceptable")

    asyncio.run(story())


def test_yaml_bodies_keep_timestamps_as_text() -> None:
    async def story() -> None:
        body = b"metadata:\n  name: c\ndata:\n  at: 2020-01-02T03:04:05Z\n"
        async with raw_edge() as edge:
            status, made = await edge.ask("POST", MAPS, body, Content_Type="application/yaml")
            assert (status, made["data"]) == (201, {"at": "2020-01-02T03:04:05Z"})

    asyncio.run(story())


def test_a_dry_run_answers_as_if_and_stores_nothing() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            status, made = await edge.ask("POST", f"{MAPS}?dryRun=All", config_map("c"))
            assert status == 201
            assert made["metadata"]["uid"]
            assert edge.emulator.objects() == []
            await edge.ask("POST", MAPS, config_map("c", a="1"))
            before = edge.emulator.objects()
            merge = {"Content_Type": "application/merge-patch+json"}
            _, patched = await edge.ask("PATCH", f"{MAPS}/c?dryRun=All", {"data": {"a": "2"}}, **merge)
            assert patched["data"] == {"a": "2"}
            assert (await edge.ask("DELETE", f"{MAPS}/c?dryRun=All"))[0] == 200
            assert (await edge.ask("DELETE", f"{MAPS}/c", {"dryRun": ["All"]}))[0] == 200
            assert edge.emulator.objects() == before

    asyncio.run(story())


def test_names_can_be_generated() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            names = set()
            for _ in range(2):
                _, made = await edge.ask("POST", MAPS, {"metadata": {"generateName": "c-"}})
                names.add(made["metadata"]["name"])
            assert len(names) == 2
            assert all(name.startswith("c-") and len(name) > 2 for name in names)

    asyncio.run(story())


def test_json_patch() -> None:
    async def story() -> None:
        patch = {"Content_Type": "application/json-patch+json"}
        async with raw_edge() as edge:
            await edge.ask("POST", MAPS, config_map("c", a="1", b="2"))
            operations: list[dict[str, Any]] = [
                {"op": "test", "path": "/data/a", "value": "1"},
                {"op": "replace", "path": "/data/a", "value": "3"},
                {"op": "move", "from": "/data/b", "path": "/data/c~1d"},
                {"op": "add", "path": "/metadata/finalizers", "value": ["x/y"]},
                {"op": "add", "path": "/metadata/finalizers/-", "value": "z/y"},
                {"op": "add", "path": "/metadata/finalizers/0", "value": "w/y"},
                {"op": "remove", "path": "/metadata/finalizers/1"},
            ]
            status, made = await edge.ask("PATCH", f"{MAPS}/c", operations, **patch)
            assert (status, made["data"]) == (200, {"a": "3", "c/d": "2"})
            assert made["metadata"]["finalizers"] == ["w/y", "z/y"]
            before = edge.emulator.objects()
            # The first operation would fit; a patch that fails halfway leaves nothing behind.
            halfway = [{"op": "remove", "path": "/data/a"}, {"op": "remove", "path": "/data/none"}]
            assert (await edge.ask("PATCH", f"{MAPS}/c", halfway, **patch))[0] == 422
            assert edge.emulator.objects() == before

    asyncio.run(story())


def test_merge_patch_removes_with_null_and_replaces_lists() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            await edge.ask("POST", "/apis/apps/v1/namespaces/default/deployments", deployment())
            containers = [{"name": "only", "image": "o:1"}]
            patch = {"metadata": {"labels": None}, "spec": {"template": {"spec": {"containers": containers}}}}
            _, made = await edge.ask("PATCH", WEB, patch, Content_Type="application/merge-patch+json")
            assert made["spec"]["template"]["spec"]["containers"] == containers
            assert "labels" not in made["metadata"]

    asyncio.run(story())


def test_custom_resources_take_no_strategic_merge() -> None:
    async def story() -> None:
        path = "/apis/k8splugin.io/v1alpha1/namespaces/default/resourcebundlestates"
        async with raw_edge() as edge:
            assert (await edge.ask("POST", path, bundle_state("1-a")))[0] == 201
            kind = "application/strategic-merge-patch+json"
            assert (await edge.ask("PATCH", f"{path}/1-a", {}, Content_Type=kind))[0] == 415

    asyncio.run(story())


def test_server_side_apply_creates_then_joins_and_names_its_manager() -> None:
    async def story() -> None:
        apply = {"Content_Type": "application/apply-patch+yaml"}
        async with raw_edge() as edge:
            status, answer = await edge.ask("PATCH", WEB, deployment(), **apply)
            assert (status, answer["reason"]) == (422, "Invalid")
            assert (await edge.ask("PATCH", f"{WEB}?fieldManager=one", deployment(), **apply))[0] == 201
            spec = {"template": {"spec": {"containers": [{"name": "third", "image": "t:1"}]}}}
            more = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
            status, made = await edge.ask("PATCH", f"{WEB}?fieldManager=two", more, **apply)
            assert status == 200
            assert [c["name"] for c in made["spec"]["template"]["spec"]["containers"]] == ["main", "side", "third"]
            managers = [(m["manager"], m["operation"]) for m in made["metadata"]["managedFields"]]
            assert managers == [("one", "Apply"), ("two", "Apply")]
            _, again = await edge.ask("PATCH", f"{WEB}?fieldManager=two", more, **apply)
            assert again == made

    asyncio.run(story())


def test_selectors_of_workloads_are_immutable() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            await edge.ask("POST", "/apis/apps/v1/namespaces/default/deployments", deployment())
            patch = {"spec": {"selector": {"matchLabels": {"app": "other"}}}}
            status, answer = await edge.ask("PATCH", WEB, patch, Content_Type="application/merge-patch+json")
            assert (status, answer["reason"]) == (422, "Invalid")

    asyncio.run(story())


async def events(edge: Raw, path: str) -> list[dict[str, Any]]:
    async with edge.session.get(edge.url(path)) as answer:
        assert answer.status == 200
        return [json.loads(line) async for line in answer.content]


def test_a_watch_from_before_a_restore_is_sent_back_to_a_list() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            await edge.ask("POST", MAPS, config_map("c"))
            version = (await edge.ask("GET", MAPS))[1]["metadata"]["resourceVersion"]
            await edge.emulator.restore(edge.emulator.objects())
            for unknown in (version, "999999"):
                (event,) = await events(edge, f"{MAPS}?watch=1&resourceVersion={unknown}")
                assert (event["type"], event["object"]["code"]) == ("ERROR", 410)

    asyncio.run(story())


def test_restore_and_stop_end_watches_cleanly() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            for end in (lambda: edge.emulator.restore([]), edge.emulator.stop):
                begun = asyncio.Event()

                async def follow(begun: asyncio.Event = begun) -> list[bytes]:
                    async with edge.session.get(edge.url(f"{MAPS}?watch=1")) as answer:
                        begun.set()
                        return [line async for line in answer.content]

                watching = asyncio.create_task(follow())
                await begun.wait()
                await end()  # type: ignore[no-untyped-call]
                assert await asyncio.wait_for(watching, 5) == []

    asyncio.run(story())


def test_a_watcher_that_leaves_is_forgotten() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            async with edge.session.get(edge.url(f"{MAPS}?watch=1")) as answer:
                assert answer.status == 200
                assert len(edge.emulator._watchers) == 1
                (task,) = edge.emulator._watchers
                answer.close()
                await asyncio.wait([task], timeout=5)
            assert not edge.emulator._watchers

    asyncio.run(story())


def test_a_watch_list_says_where_its_beginning_ends() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            await edge.ask("POST", MAPS, config_map("c"))
            query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
            got = await events(edge, f"{MAPS}?{query}&timeoutSeconds=1")
            assert [event["type"] for event in got] == ["ADDED", "BOOKMARK", "BOOKMARK"]
            assert got[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}

    asyncio.run(story())


def test_versions_of_a_watch_never_go_back_when_the_monitor_writes() -> None:
    async def story() -> None:
        path = "/apis/k8splugin.io/v1alpha1/namespaces/default/resourcebundlestates"
        async with raw_edge() as edge:
            version = (await edge.ask("GET", path))[1]["metadata"]["resourceVersion"]
            async with edge.session.get(edge.url(f"{path}?watch=1&resourceVersion={version}")) as answer:
                await edge.ask("POST", path, bundle_state("1-a"))
                first, second = json.loads(await answer.content.readline()), json.loads(await answer.content.readline())
            assert (first["type"], second["type"]) == ("ADDED", "MODIFIED")
            assert "status" not in first["object"]
            assert second["object"]["status"] == {"ready": False, "resourceCount": 0}
            versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in (first, second)]
            assert versions == sorted(versions)

    asyncio.run(story())


def test_without_a_monitor_bundle_states_stay_as_they_are() -> None:
    async def story() -> None:
        path = "/apis/k8splugin.io/v1alpha1/namespaces/default/resourcebundlestates"
        async with raw_edge(monitor=False) as edge:
            await edge.ask("POST", path, bundle_state("1-a"))
            await edge.ask("POST", MAPS, config_map("c", labels={"emco/deployment-id": "1-a"}))
            assert "status" not in (await edge.ask("GET", f"{path}/1-a"))[1]

    asyncio.run(story())


def test_a_request_that_arrived_whole_is_carried_out_though_its_client_left() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            body = json.dumps(config_map("c")).encode()
            head = f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            for sent, kept in ((body[:-1], 0), (body, 1)):
                seen = len(edge.emulator.request_log)
                _, writer = await asyncio.open_connection(*edge.emulator.address)
                writer.write(head.encode() + b"\r\n\r\n" + sent)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
                # A request of another connection, later than that: when it is answered the first has been seen.
                await edge.ask("GET", "/version")
                assert len(edge.emulator.objects()) == kept
                assert len(edge.emulator.request_log) == seen + 1 + kept


def test_large_bodies_are_taken_up_to_the_limit_of_the_real_api() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            for number, (size, status) in enumerate([(2_900_000, 201), (3_200_000, 413), (20_000_000, 413), (9, 201)]):
                body = io.BytesIO(json.dumps(config_map(f"c{number}", a="x" * size)).encode())
                async with edge.session.post(edge.url(MAPS), data=body, headers=JSON) as answer:
                    assert answer.status == status
                    assert (await answer.json()).get("code", 201) == status
            assert [made["metadata"]["name"] for made in edge.emulator.objects()] == ["c0", "c3"]

    asyncio.run(story())


def test_the_request_log_holds_what_was_asked_and_answered() -> None:
    async def story() -> None:
        async with raw_edge(now=lambda: 1_700_000_000.0) as edge:
            await edge.ask("POST", f"{MAPS}?fieldManager=me", config_map("c"), User_Agent="rsync/1")
            await edge.ask("GET", f"{MAPS}/none")
            first, second = edge.emulator.request_log
            assert (first.method, first.path, first.query, first.status) == ("POST", MAPS, "fieldManager=me", 201)
            assert (first.time, first.user_agent) == (1_700_000_000.0, "rsync/1")
            assert (second.path, second.status) == (f"{MAPS}/none", 404)
            (made,) = edge.emulator.objects()
            assert made["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"

    asyncio.run(story())


def test_objects_are_copies() -> None:
    async def story() -> None:
        async with raw_edge() as edge:
            await edge.ask("POST", MAPS, config_map("c", a="1"))
            edge.emulator.objects()[0]["data"]["a"] = "changed"
            assert edge.emulator.objects()[0]["data"] == {"a": "1"}

    asyncio.run(story())


def test_it_can_be_stopped_and_started_again_with_its_objects() -> None:
    async def story() -> None:
        emulator = EdgeEmulator("edge01")
        await emulator.start("127.0.0.1", 0)
        host, port = emulator.address
        with pytest.raises(RuntimeError, match="already"):
            await emulator.start("127.0.0.1", 0)
        async with aiohttp.ClientSession() as session:
            await Raw(emulator, session).ask("POST", MAPS, config_map("c"))
        await emulator.stop()
        with pytest.raises(RuntimeError, match="not started"):
            _ = emulator.address
        await emulator.start(host, port)
        assert emulator.address == (host, port)
        async with aiohttp.ClientSession() as session:
            assert (await Raw(emulator, session).ask("GET", f"{MAPS}/c"))[0] == 200
        await emulator.stop()

    asyncio.run(story())
