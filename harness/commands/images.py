"""`emco-chaos get-emco`: a release of EMCO out of its images, to be run as processes by `--emco VERSION`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from harness.defaults import default_folders, listed
from harness.platforms.images.cache import Cache
from harness.platforms.images.get import REPOSITORY, USUAL, get_emco
from harness.platforms.images.sources import choose
from harness.platforms.settings import shown


def get(
    version: Annotated[str, typer.Argument(help="Tag of the images, such as 22.09.")],
    *,
    archives: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Archive of images (docker, podman save; skopeo copy), or a folder of such.",
            show_default="docker, podman or skopeo, whichever is installed",
        ),
    ] = None,
    services: Annotated[str, typer.Option("--services", help="Which services, separated by commas.")] = ",".join(USUAL),
    repository: Annotated[
        str, typer.Option("--repository", envvar="EMCO_CHAOS_REPOSITORY", help="Where the images are.")
    ] = REPOSITORY,
    replace: Annotated[bool, typer.Option("--replace", help="Take again what is in the cache already.")] = False,
) -> None:
    """Take a release of EMCO from its container images, to run it as processes: `emco-chaos run --emco VERSION`.

    Of each image the program, its schemas and libraries are kept. An archive needs no container daemon.
    """
    place, manifest = asyncio.run(
        get_emco(
            version,
            listed(services),
            choose(archives),
            Cache(default_folders()["cache_folder"]),
            repository=repository,
            replace=replace,
            tell=typer.echo,
        )
    )
    size = sum(file.size for file in manifest.files.values()) / 1e6
    typer.echo(f"EMCO {version}: {', '.join(sorted(manifest.services))}, {size:.0f} MB in {shown(place)}")
    typer.echo(f"use it by --emco {version}")
