"""Images on their way into a kind node: built here if they are not there yet, loaded without any registry."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.platforms.commands import CommandFails, command
from harness.platforms.images.named import ServiceImage
from harness.platforms.kind.turns import turn
from harness.platforms.kubernetes.image import image_name, write_context

_BUILD_LIMIT = 300.0
_LOAD_LIMIT = 600.0
_ASK_LIMIT = 30.0


async def is_here(image: str) -> bool:
    """Whether the container daemon has an image."""
    try:
        await command("docker", "image", "inspect", "--format", "{{.Id}}", image, limit=_ASK_LIMIT)
    except CommandFails:
        return False
    return True


async def reference_image(root: Path, *, base: str, folder: Path, turns: Path) -> str:
    """Name of the image of the reference EMCO; built in the folder when it is not here.

    root: of this project;  base: stock Python image;  turns: a folder of all who may want it: one of them builds it.
    Raises UsageError and CommandFails.
    """
    name = image_name(root, base=base)
    if await is_here(name):
        return name
    async with turn(turns, "image"):
        if await is_here(name):
            return name  # by whoever had the turn before
        context = folder / "image"
        context.mkdir(parents=True)
        write_context(root, context)
        await command(
            "docker", "build", "--quiet", "--tag", name, "--build-arg", f"BASE={base}", str(context),
            limit=_BUILD_LIMIT,
        )  # fmt: skip
        shutil.rmtree(context)
    return name


async def load_services(cluster: str, images: Sequence[ServiceImage]) -> None:
    """Bring the images of EMCO's services into the nodes of a cluster, of archives all that these hold."""
    if named := sorted({one.name for one in images if one.archive is None}):
        await load(cluster, *named)
    for archive in sorted({one.archive for one in images if one.archive is not None}):
        await command("kind", "load", "image-archive", "--name", cluster, str(archive), limit=_LOAD_LIMIT)


async def load(cluster: str, *images: str, nodes: Sequence[str] = ()) -> None:
    """Bring images into the nodes of a cluster; those that are there are left.

    nodes: the containers that they are; without any there is one, as kind names it
    """
    nodes = nodes or (f"{cluster}-control-plane",)

    async def is_everywhere(image: str) -> bool:
        return all(await asyncio.gather(*(_is_loaded(node, image) for node in nodes)))

    there = await asyncio.gather(*map(is_everywhere, images))
    if missing := [image for image, is_there in zip(images, there, strict=True) if not is_there]:
        await command("kind", "load", "docker-image", "--name", cluster, *missing, limit=_LOAD_LIMIT)


async def _is_loaded(node: str, image: str) -> bool:
    """Whether the node has this very image under this name."""
    here = (await command("docker", "image", "inspect", "--format", "{{.Id}}", image, limit=_ASK_LIMIT)).strip()
    try:
        told = await command("docker", "exec", node, "crictl", "inspecti", "-o", "json", image, limit=_ASK_LIMIT)
        return bool(json.loads(told)["status"]["id"] == here)
    except (CommandFails, ValueError, KeyError, TypeError):  # it has none, or does not say: kind looks again
        return False
