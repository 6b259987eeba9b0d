"""One service, from its start to its end.

`main` is what `python -m reference` and a fork server call: importing this module pulls in everything that any service
needs and starts nothing, so that a fork of a process that has imported it serves within milliseconds.
"""

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from reference import events
from reference.clm import Clm
from reference.config import ETCD_PORT, MONGO_PORT, Config, ConfigError, read_config
from reference.contexts import Contexts
from reference.dcm import Dcm
from reference.defects import Defects, UnknownDefect, parse_defects
from reference.encryption import encryption
from reference.errors import StoreError
from reference.etcd import Etcd
from reference.mongo import Mongo
from reference.orchestrator import Orchestrator
from reference.proto import installapp_pb2, updateapp_pb2
from reference.records import COLLECTION, Records
from reference.resources import schema_segment
from reference.rpc import INSTALL, ROLLBACK, UNINSTALL, UPDATE, Rsync
from reference.rsync import RsyncService
from reference.web import Rest

SERVICES = ("orchestrator", "clm", "dcm", "rsync")
_ENOUGH_LOOKS = 3
"""After so many looks in vain the orchestrator, whose part it is, cannot be on its way with the schema."""


class Part(Protocol):
    """A service with a REST API."""

    def mount(self, rest: Rest) -> None: ...

    async def recover(self) -> None: ...


def main(service: str) -> None:
    """Run a service in the working directory until SIGINT. Exits 2 for settings that are unusable, 1 without mongo."""
    logging.basicConfig(level=logging.WARNING, format=f"%(asctime)s {service} %(message)s", stream=sys.stderr)
    logging.getLogger("reference").setLevel(logging.INFO)
    try:
        config = read_config(service=service, directory=Path.cwd(), environment=os.environ)
        defects = parse_defects(os.environ.get("REFERENCE_EMCO_DEFECTS"))
    except (ConfigError, UnknownDefect) as error:
        print(f"{service}: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    try:
        asyncio.run(run(config, defects))
    except (StoreError, OSError) as error:
        print(f"{service}: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def warm() -> None:
    """Do once what every start would do again, for a fork server before its first fork; nothing is connected to.

    Routes are regular expressions: `re` keeps them once they are compiled, which took most of a start's time. gzip is
    what tarfile imports at the first chart.
    """
    import_module("gzip")
    asyncio.run(_mount_all())


async def _mount_all() -> None:
    log = logging.getLogger("reference")
    defects = parse_defects(None)
    records = Records(Mongo(host="127.0.0.1", port=MONGO_PORT), again=False, encryption=encryption(""))
    etcd = Etcd(host="127.0.0.1", port=ETCD_PORT)
    contexts = Contexts(etcd)
    rsync = Rsync(records=records, contexts=contexts, ready=0.0)
    for service in SERVICES:
        if service != "rsync":
            part = _part(service, records=records, contexts=contexts, rsync=rsync, defects=defects, log=log)
            part.mount(Rest(defects=defects, log=log))
    etcd.close()


async def run(config: Config, defects: Defects) -> None:
    """Serve until SIGINT. Raises StoreError without mongo, OSError when a port is taken."""
    log = logging.getLogger(f"reference.{config.service}")
    await _check_mongo(config)
    mongo = Mongo(host=config.database_ip, port=MONGO_PORT)
    etcd = Etcd(host=config.etcd_ip, port=ETCD_PORT, again=not defects.on)
    records = Records(mongo, again=not defects.on, encryption=encryption(config.data_key))
    if "D3" not in defects:
        await records.check_readable()
    contexts = Contexts(etcd)
    rest = Rest(defects=defects, log=log)
    handlers: dict[str, Handler] = {}
    schema: asyncio.Task[None] | None = None
    if config.service == "rsync":
        rsync = RsyncService(config=config, records=records, contexts=contexts, defects=defects, log=log)
        await rsync.restore()
        handlers = _rsync_handlers(rsync)
        rest.app.router.add_get("/metrics", _metrics)
    else:
        rsync_client = Rsync(records=records, contexts=contexts, ready=config.conn_ready)
        part = _part(config.service, records=records, contexts=contexts, rsync=rsync_client, defects=defects, log=log)
        part.mount(rest)
        schema = asyncio.create_task(_load_schema(config, mongo, records, log, defects))
        await part.recover()
    runner = await rest.start(host=config.listen, port=config.http_port) if config.http_port else None
    server = Server([_Handlers(handlers)])
    if config.grpc_port is not None:
        await server.start(config.listen, config.grpc_port)
    await _interrupted()
    if schema is not None:
        schema.cancel()
    server.close()
    if runner is not None:
        await runner.cleanup()
    mongo.close()
    etcd.close()


def _part(
    service: str, *, records: Records, contexts: Contexts, rsync: Rsync, defects: Defects, log: logging.Logger
) -> Part:
    if service == "clm":
        return Clm(records=records, defects=defects)
    if service == "dcm":
        return Dcm(records=records, contexts=contexts, rsync=rsync, defects=defects, log=log)
    return Orchestrator(records=records, contexts=contexts, rsync=rsync, defects=defects, log=log)


async def _check_mongo(config: Config) -> None:
    """EMCO asks for serverStatus at its start and gives up when that fails; something starts it again."""
    mongo = Mongo(host=config.database_ip, port=MONGO_PORT, selection=0.0)
    await mongo.command({"serverStatus": 1})
    mongo.close()


async def _load_schema(config: Config, mongo: Mongo, records: Records, log: logging.Logger, defects: Defects) -> None:
    """Wait for the referential schema; the orchestrator stores it if it is absent. Creates are refused until then, and
    the log says when that is over, in EMCO's words: who starts a service waits for them.

    S1: a question that mongo does not answer is the last one, as EMCO has it. Without D2 the others store it, too, once
    the orchestrator had the time to do it. X6: the orchestrator removes what is there, and stores it at the end.
    """
    segment = schema_segment()
    pause = config.schema_backoff
    for look in itertools.count():
        try:
            if "X6" in defects and config.service == "orchestrator" and not look:
                await records.discard({"SegmentId": segment["SegmentId"]})
            found = await records.query({"keyId": "{SegmentId}"}, {"segment": 1, "_id": 0})
            if any(item["segment"]["name"] == "emco-base" for item in found):
                records.schema_loaded.set()
                log.info("successfully processed the referential schema")
                return
            if config.service == "orchestrator" or ("D2" not in defects and look >= _ENOUGH_LOOKS):
                await _store_schema(mongo, segment)
                continue
        except StoreError as error:
            log.warning("the referential schema is not loaded: %s", error)
            if "S1" in defects:
                log.warning("the referential schema is not asked for again: every create will be refused")
                return
        # Nothing announces the segment to a service that waits for it.
        await asyncio.sleep(pause)
        pause = min(pause * 2, config.schema_max_backoff)


async def _store_schema(mongo: Mongo, segment: Mapping[str, Any]) -> None:
    command = {
        "findAndModify": COLLECTION,
        "query": {"SegmentId": segment["SegmentId"]},
        "update": {"$set": {"segment": segment["segment"], "keyId": "{SegmentId}"}},
        "upsert": True,
        "new": True,
    }
    await mongo.command(command)


class _Handlers:
    """What grpclib's server asks of a service."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers

    def __mapping__(self) -> dict[str, Handler]:
        return self._handlers


def _rsync_handlers(rsync: RsyncService) -> dict[str, Handler]:
    async def install(request: Any) -> Any:
        await rsync.accept(request.app_context, events.INSTANTIATE)
        return installapp_pb2.InstallAppResponse(app_context_installed=True)

    async def uninstall(request: Any) -> Any:
        await rsync.accept(request.app_context, events.TERMINATE)
        return installapp_pb2.UninstallAppResponse(app_context_uninstalled=True)

    async def update(request: Any) -> Any:
        await rsync.accept(request.update_to_app_context, events.UPDATE, other=request.update_from_app_context)
        return updateapp_pb2.UpdateAppResponse(app_context_updated=True)

    async def rollback(request: Any) -> Any:
        await rsync.accept(request.rollback_to_app_context, events.UPDATE, other=request.rollback_from_app_context)
        return updateapp_pb2.RollbackAppResponse(app_context_rolledback=True)

    install_types = (installapp_pb2.InstallAppRequest, installapp_pb2.InstallAppResponse)
    uninstall_types = (installapp_pb2.UninstallAppRequest, installapp_pb2.UninstallAppResponse)
    update_types = (updateapp_pb2.UpdateAppRequest, updateapp_pb2.UpdateAppResponse)
    rollback_types = (updateapp_pb2.RollbackAppRequest, updateapp_pb2.RollbackAppResponse)
    return {
        INSTALL: _unary(install, *install_types),
        UNINSTALL: _unary(uninstall, *uninstall_types),
        UPDATE: _unary(update, *update_types),
        ROLLBACK: _unary(rollback, *rollback_types),
    }


def _unary(answer: Callable[[Any], Awaitable[Any]], request_type: Any, reply_type: Any) -> Handler:
    async def handle(stream: Stream[Any, Any]) -> None:
        request = await stream.recv_message()
        # A caller that goes away must not leave half of an acceptance behind.
        reply = await asyncio.shield(asyncio.ensure_future(answer(request)))
        await stream.send_message(reply)

    return Handler(handle, Cardinality.UNARY_UNARY, request_type, reply_type)


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(text="")


async def _interrupted() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, ended.set)
    await ended.wait()
