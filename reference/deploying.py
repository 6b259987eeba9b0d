"""One event on the clusters it is about: objects applied and deleted, and what has become of them noted in etcd."""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import yaml

from reference import events
from reference.config import Config
from reference.contexts import Contexts, cluster_path, resource_path
from reference.defects import Defects
from reference.edge import Edge, EdgeError, EdgeUnreachable, read_kubeconfig
from reference.errors import StoreError
from reference.records import Records
from reference.resources import cloud_config
from reference.seeded import withdraw
from reference.watching import Reports

_RETRY = 2.0
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PENDING: Mapping[str, str] = {"Status": "Pending"}
_APPLIED: Mapping[str, str] = {"Status": "Applied"}
_DELETED: Mapping[str, str] = {"Status": "Deleted"}
_FAILED: Mapping[str, str] = {"Status": "Failed"}


@dataclass(frozen=True, slots=True)
class Job:
    """One event on one app and cluster."""

    context: str
    event: str
    other: str
    app: str
    cluster: str
    resources: tuple[str, ...]
    manifests: Mapping[str, str]
    namespace: str
    status_context: str

    @property
    def deployment(self) -> str:
        """What labels the objects: an update keeps the label of the context that collects the status."""
        return f"{self.status_context}-{self.app}"


@dataclass(frozen=True, slots=True)
class Notes:
    """Writes down what has become of something; EMCO does not look whether that succeeds (R24)."""

    contexts: Contexts
    defects: Defects
    log: logging.Logger

    async def write(self, context: str, path: str, value: Any) -> None:
        """Set one value of a context. Raises StoreError, unless R24."""
        try:
            await self.contexts.put(context, path, value)
        except StoreError as error:
            if "R24" not in self.defects:
                raise
            self.log.info("%s of %s is not noted: %s", path, context, error)


class Deployer:
    """Does events on clusters.

    spawn: starts what is to go on by itself
    check: raises when another rsync is through with what is in hand for a context
    """

    def __init__(
        self,
        *,
        config: Config,
        records: Records,
        contexts: Contexts,
        notes: Notes,
        spawn: Callable[[Awaitable[None]], None],
        check: Callable[[str], Awaitable[None]],
    ) -> None:
        self._config = config
        self._records = records
        self._contexts = contexts
        self._defects = notes.defects
        self._log = notes.log
        self._note = notes.write
        self._spawn = spawn
        self._check = check
        self._reports = Reports(
            contexts=contexts,
            at_once="R10" not in notes.defects,
            notes_connection="R20" not in notes.defects,
            lost=self._withdraw if "X3" in notes.defects else None,
            log=notes.log,
        )
        self._session: aiohttp.ClientSession | None = None

    async def run(self, jobs: list[Job]) -> None:
        """Work on all clusters side by side (a Terminate with X1 does not); the first failure ends the others."""
        if "X1" in self._defects and jobs and jobs[0].event == events.TERMINATE:
            for job in jobs:
                await self._run_cluster(job)
            return
        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(self._run_cluster(job))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _run_cluster(self, job: Job) -> None:
        if job.event == events.UPDATE:
            await self._note_pending(job)
        if not job.resources:
            return
        if job.event == events.TERMINATE and "X2" in self._defects:
            for name in job.resources:
                await self._note_resource(job, name, _DELETED)
        edge = await self._connect(job.cluster)
        self.watch(job.cluster)
        await self._wait_reachable(job, edge)
        while True:
            try:
                for name in job.resources:
                    await self._check(job.context)
                    await self._run_resource(job, edge, name)
                await self._ask_for_report(job, edge)
                if job.event == events.TERMINATE:
                    await self._end_report(job, edge)
                break
            except EdgeUnreachable as error:
                # The edge was lost in the middle: wait for it and begin again with the first resource.
                self._log.info("%s: %s", job.cluster, error)
                await self._wait_reachable(job, edge)

    async def _ask_for_report(self, job: Job, edge: Edge) -> None:
        if job.event in (events.INSTANTIATE, events.UPDATE):
            report = await edge.report(job.deployment, namespace=job.namespace)
            if report is not None:
                await self._reports.note(job.cluster, report)

    async def _end_report(self, job: Job, edge: Edge) -> None:
        if "R11" not in self._defects:
            await edge.end_report(job.deployment, namespace=job.namespace)
            await self._reports.close(job.cluster, job.deployment, job.resources)
            return

        async def later() -> None:
            await asyncio.sleep(self._config.cleanup_delay)
            try:
                await edge.end_report(job.deployment, namespace=job.namespace)
            except EdgeError as error:
                self._log.warning("removing the report of %s: %s", job.deployment, error)

        self._spawn(later())

    async def _note_pending(self, job: Job) -> None:
        """A new context begins with all resources pending; what becomes of them is noted where status is collected."""
        for name in job.manifests:
            path = resource_path(job.app, job.cluster, name) + "status/"
            if await self._contexts.get(job.context, path) is None:
                await self._contexts.put(job.context, path, _PENDING)

    async def _run_resource(self, job: Job, edge: Edge, name: str) -> None:
        manifest = yaml.load(job.manifests[name], Loader=_LOADER)  # noqa: S506 - it is the safe one, in C
        if job.event in (events.TERMINATE, events.UPDATE_DELETE):
            status = _DELETED
            try:
                await edge.delete(manifest, namespace=job.namespace, gone_ok="R23" not in self._defects)
            except EdgeUnreachable:
                raise
            except EdgeError as error:
                # As in EMCO, a delete that is refused is noted and does not stop the others.
                self._log.warning("%s: %s", job.cluster, error)
                status = _FAILED
            await self._note_resource(job, name, status)
            return
        await self._note_resource(job, name, _PENDING)
        try:
            await edge.apply(manifest, namespace=job.namespace, deployment=job.deployment)
        except EdgeUnreachable:
            raise
        except EdgeError:
            await self._note_resource(job, name, _FAILED)
            raise
        await self._note_resource(job, name, _APPLIED)

    async def _note_resource(self, job: Job, name: str, status: Mapping[str, str]) -> None:
        path = resource_path(job.app, job.cluster, name)
        await self._note(job.status_context, path + "status/", status)
        await self._note(job.status_context, path + "reference/", job.context)
        await self._note(job.status_context, cluster_path(job.app, job.cluster) + "reference/", job.context)

    async def _wait_reachable(self, job: Job, edge: Edge) -> None:
        """Ask the edge until it answers. Raises EdgeUnreachable when the tries are used up."""
        path = cluster_path(job.app, job.cluster) + "readystatus/"
        tries, shown = 0, ""
        most = self._config.max_retries
        if most is not None and "R18" in self._defects:
            most += 1  # EMCO counts a retry only after it has compared
        while True:
            await self._check(job.context)
            try:
                await edge.reach()
            except EdgeUnreachable as error:
                tries += 1
                if most is not None and tries > most:
                    raise
                self._log.info("%s is not reachable (try %d): %s", job.cluster, tries, error)
                if shown != "Retrying":
                    shown = "Retrying"
                    await self._note_connection(job, path, shown)
            else:
                await self._note_connection(job, path, "Available")
                return
            await asyncio.sleep(_RETRY)

    async def _note_connection(self, job: Job, path: str, word: str) -> None:
        await self._note(job.context, path, word)
        if "R21" not in self._defects and job.status_context != job.context:
            await self._note(job.status_context, path, word)

    async def _connect(self, cluster: str) -> Edge:
        provider, _, name = cluster.partition("+")
        stored = await self._records.find(cloud_config(provider, name), "config")
        if stored is None:
            raise EdgeError(f"CloudConfig of {cluster} not found")
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            kubeconfig = base64.b64decode(self._records.opened(stored["config"]))
        except ValueError as error:
            raise EdgeError(f"the CloudConfig of {cluster} is no base64: {error}") from error
        patient, replaces = "R19" in self._defects, "X7" in self._defects
        return Edge(access=read_kubeconfig(kubeconfig), session=self._session, patient=patient, replaces=replaces)

    def _withdraw(self, lost: str) -> None:
        """X3: take what runs on a lost edge off the others, and put it back when that edge answers again."""
        self._spawn(withdraw(lost, contexts=self._contexts, connect=self._connect))

    def watch(self, cluster: str) -> None:
        """See what the cluster's monitor reports, from now on."""
        self._reports.watch(cluster, lambda: self._connect(cluster))
