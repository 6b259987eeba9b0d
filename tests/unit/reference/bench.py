"""A whole EMCO for a test: stores, the four reference services behind relays, one edge; all on loopback addresses."""

import asyncio
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from harness.platforms.edge_emulator import EdgeEmulator
from harness.wire.links import Link
from harness.wire.relay import Relay
from reference.etcd import Etcd
from reference.mongo import Mongo

BIN = Path(sys.executable).parent
SERVICES = ("orchestrator", "clm", "dcm", "rsync")
HTTP = {"orchestrator": 9015, "clm": 9061, "dcm": 9077, "rsync": 9023}
GRPC = {"orchestrator": 9016, "dcm": 9078, "rsync": 9031}

CM = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-cm\ndata:\n  a: {{ .Values.a | quote }}\n"
WEB = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-web
spec:
  replicas: {{ .Values.replicas | default 1 }}
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
        - name: web
          image: web
"""


def archive(files: Mapping[str, str]) -> bytes:
    """A tar.gz, the same bytes for the same files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return raw.getvalue()


def chart(*, value: str = "1") -> bytes:
    return archive(
        {
            "app1/Chart.yaml": "apiVersion: v2\nname: app1\nversion: 0.1.0\n",
            "app1/values.yaml": f'a: "{value}"\n',
            "app1/templates/cm.yaml": CM,
            "app1/templates/web.yaml": WEB,
        }
    )


def profile() -> bytes:
    return archive(
        {
            "manifest.yaml": 'version: v1\ntype:\n  values: "override_values.yaml"\n',
            "override_values.yaml": "replicas: 1\n",
        }
    )


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Bench:
    """The running parts. `base`: the first three numbers of the addresses."""

    base: str
    folder: Path
    defects: str
    relay: Relay
    edge: EdgeEmulator
    mongo: Mongo
    etcd: Etcd
    http: aiohttp.ClientSession
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    def address(self, number: int) -> str:
        return f"{self.base}.{number}"

    def listen(self, service: str) -> str:
        return self.address(20 + SERVICES.index(service))

    def links(self) -> list[Link]:
        links = []
        for number, service in enumerate(SERVICES):
            own = self.address(30 + number)
            links.append(Link(service, "mongo", "mongo", (own, 27017), (self.address(1), 27017)))
            links.append(Link(service, "etcd", "etcd", (own, 2379), (self.address(1), 2379)))
        links.append(Link("rsync", "edge", "http", (self.address(40), 8080), (self.address(2), 8080)))
        rsync = (self.listen("rsync"), 9031)
        shared = {self.listen("orchestrator"): "orchestrator", self.listen("dcm"): "dcm"}
        links.append(
            Link(
                "caller",
                "rsync",
                "grpc",
                (self.address(41), 9031),
                rsync,
                identify=lambda a: shared.get(a[0], "caller"),
            )
        )
        return links

    async def start_service(self, service: str, *, environment: Mapping[str, str] | None = None) -> float:
        """Start a service and wait until its port is open; returns the seconds that took."""
        own = self.address(30 + SERVICES.index(service))
        folder = self.folder / service
        folder.mkdir(exist_ok=True)
        config = {"database-ip": own, "etcd-ip": own, "service-port": str(HTTP[service])}
        (folder / "config.json").write_text(json.dumps(config))
        env = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "REFERENCE_EMCO_LISTEN": self.listen(service),
            "REFERENCE_EMCO_DEFECTS": self.defects,
            **(environment or {}),
        }
        began = time.monotonic()
        with (self.folder / f"{service}.log").open("ab") as log:
            self.processes[service] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "reference", service, cwd=folder, env=env, stderr=log, stdout=log
            )
        await self.wait_port(self.listen(service), GRPC.get(service, HTTP[service]), self.processes[service])
        return time.monotonic() - began

    async def wait_port(self, host: str, port: int, process: asyncio.subprocess.Process) -> None:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, port)
                except OSError:
                    assert process.returncode is None, self.logs()
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                return

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in self.folder.glob("*.log"))

    async def kill(self, service: str) -> None:
        process = self.processes.pop(service)
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        file: bytes | None = None,
    ) -> Answer:
        url = f"http://{self.listen(service)}:{HTTP[service]}{path}"
        data: Any = None if body is None else json.dumps(body)
        if file is not None:
            data = aiohttp.FormData()
            data.add_field("metadata", json.dumps(body))
            data.add_field("file", file, filename="file")
        async with self.http.request(method, url, data=data) as reply:
            return Answer(reply.status, await reply.text())

    async def wait_schema(self) -> None:
        """Wait until every service accepts creates, then remove what was made for that."""
        probes = {"orchestrator": "/v2/projects", "clm": "/v2/cluster-providers"}
        async with asyncio.timeout(20):
            for service, path in probes.items():
                # Nothing announces that a service has the schema.
                while (await self.call(service, "POST", path, {"metadata": {"name": "probe"}})).status == 409:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            path = "/v2/projects/probe/logical-clouds"
            body = {"metadata": {"name": "probe"}, "spec": {"level": "0"}}
            while (await self.call("dcm", "POST", path, body)).status == 409:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await self.call("dcm", "DELETE", path + "/probe")).status == 204
        for service, path in probes.items():
            assert (await self.call(service, "DELETE", path + "/probe")).status == 204

    async def quiet(self) -> None:
        assert await self.relay.quiet(seconds=0.1, limit=20), "effects go on"

    async def documents(self) -> list[dict[str, Any]]:
        reply = await self.mongo.command({"find": "resources", "filter": {}, "batchSize": 1000})
        return [
            {name: value for name, value in item.items() if name != "_id"} for item in reply["cursor"]["firstBatch"]
        ]

    async def keys(self) -> dict[str, Any]:
        found = await self.etcd.list("/")
        return {key: json.loads(value) for key, value in found.items()}

    def kubeconfig(self) -> bytes:
        return self.edge.kubeconfig(f"http://{self.address(40)}:8080").encode()


def _folder() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="reference-", dir=memory if memory.is_dir() else None))


@asynccontextmanager
async def running(*, defects: str, monitor: bool = True) -> AsyncIterator[Bench]:
    """Everything started, and ended at the end."""
    number = os.getpid() * 4 + {"faithful": 0, "fixed": 1}.get(defects, 2)
    base = f"127.{100 + number // 250 % 100}.{1 + number % 250}"
    async with AsyncExitStack() as stack:
        folder = _folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stores = [
            await _start_mongo(folder, f"{base}.1"),
            await _start_etcd(folder, f"{base}.1"),
        ]
        for process in stores:
            stack.push_async_callback(_end, process)
        edge = EdgeEmulator("edge", monitor=monitor)
        await edge.start(f"{base}.2", 8080)
        stack.push_async_callback(edge.stop)
        relay = Relay()
        stack.push_async_callback(relay.close)
        mongo = Mongo(host=f"{base}.1", port=27017, selection=20)
        stack.callback(mongo.close)
        etcd = Etcd(host=f"{base}.1", port=2379)
        stack.callback(etcd.close)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        bench = Bench(base, folder, defects, relay, edge, mongo, etcd, http)
        for process in stores:
            await bench.wait_port(f"{base}.1", 27017 if process is stores[0] else 2379, process)
        for link in bench.links():
            await relay.open(link)
        await asyncio.gather(*(bench.start_service(service) for service in SERVICES))
        try:
            yield bench
        finally:
            for service in list(bench.processes):
                await bench.kill(service)


async def _start_mongo(folder: Path, host: str) -> asyncio.subprocess.Process:
    command = [str(BIN / "secantusd-py"), "--standalone", "--sync-on-commit", "--storage-path", str(folder / "mongo")]
    with (folder / "mongo.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *command, "--host", host, "--port", "27017", cwd=folder, stdout=log, stderr=log
        )


async def _start_etcd(folder: Path, host: str) -> asyncio.subprocess.Process:
    peer, client = f"http://{host}:2380", f"http://{host}:2379"
    command = [str(BIN / "etcd"), "--data-dir", str(folder / "etcd"), "--listen-client-urls", client]
    command += ["--advertise-client-urls", client, "--listen-peer-urls", peer]
    command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    with (folder / "etcd.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=log, stderr=log)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
