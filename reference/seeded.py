"""What the switches do that EMCO does not have, as far as it is not a line at its place (X3)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import yaml

from reference.contexts import Contexts, resource_path
from reference.edge import Edge, EdgeUnreachable
from reference.status import clusters_of

_PAUSE = 1.0
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Connect = Callable[[str], Awaitable[Edge]]


async def withdraw(lost: str, *, contexts: Contexts, connect: Connect) -> None:
    """X3: take what runs on a lost edge off the others, and put it back when that edge answers again.

    Raises StoreError, EdgeError.
    """
    trees = {context: await contexts.tree(context) for context in await _ids(contexts)}
    taken = [
        (cluster, manifest, (tree.get("meta/") or {}).get("Namespace") or "default", f"{context}-{app}")
        for context, tree in trees.items()
        if tree.get("status/") == {"Status": "Instantiated"} and lost in [place[1] for place in clusters_of(tree)]
        for app, cluster, names in clusters_of(tree)
        if cluster != lost
        for manifest in _manifests(tree, app, cluster, names)
    ]
    for cluster, manifest, namespace, _ in taken:
        await (await connect(cluster)).delete(manifest, namespace=namespace)
    if taken:
        await _back(lost, connect)
    for cluster, manifest, namespace, deployment in taken:
        await (await connect(cluster)).apply(manifest, namespace=namespace, deployment=deployment)


async def _ids(contexts: Contexts) -> set[str]:
    return {key.split("/")[2] for key in await contexts.etcd.list("/context/", keys_only=True)}


def _manifests(tree: Mapping[str, Any], app: str, cluster: str, names: list[str]) -> list[dict[str, Any]]:
    texts = [tree[resource_path(app, cluster, name)] for name in names]
    return [yaml.load(text, Loader=_LOADER) for text in texts]  # noqa: S506 - it is the safe one, in C


async def _back(cluster: str, connect: Connect) -> None:
    while True:
        try:
            return await (await connect(cluster)).reach()
        except EdgeUnreachable:
            await asyncio.sleep(_PAUSE)  # an edge does not announce that it is back
