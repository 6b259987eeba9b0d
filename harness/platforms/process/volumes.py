"""Small volumes for stores, so that a disk can be full without filling anybody's: a tmpfs in a mount namespace.

The namespace belongs to the environment (its thread, and whatever is started from it): nobody else sees these mounts,
and they are gone with the last of its processes, however that ends. Nothing of them has to be undone.
"""

import shutil
from pathlib import Path

from harness.faults.victim import HarnessTrouble
from harness.platforms.linux import mount_memory, unmount
from harness.platforms.supervisor import Supervised

_FILLER = "filler"
_PIECE = 64 * 1024


class Volumes:
    """The small volumes of one environment's stores. All methods are called in the environment's thread."""

    def __init__(self) -> None:
        self._small: dict[str, Path] = {}

    async def shrink(self, store: Supervised, megabytes: int) -> None:
        """Move all that a store keeps to a volume of this size; the store is stopped and started again.

        Raises HarnessTrouble where nothing may be mounted, or it does not fit.
        """
        if store.name in self._small:
            raise HarnessTrouble(f"{store.name} has a small volume already")
        folder = store.spec.cwd
        await store.stop()
        aside = folder.with_name(f"{folder.name}.aside")
        folder.rename(aside)
        folder.mkdir(mode=0o700)
        try:
            mount_memory(str(folder), megabytes)
        except OSError as error:
            folder.rmdir()
            aside.rename(folder)
            await store.start()
            raise HarnessTrouble(f"no small volume can be mounted here ({error.strerror})") from error
        self._small[store.name] = folder
        try:
            shutil.copytree(aside, folder, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            unmount(str(folder))
            del self._small[store.name]
            folder.rmdir()
            aside.rename(folder)
            await store.start()
            raise HarnessTrouble(f"what {store.name} keeps does not fit into {megabytes} MB: {error}") from error
        shutil.rmtree(aside)
        await store.start()

    def fill(self, store: str) -> int:
        """Fill what is left of a small volume; how many bytes that took."""
        written, piece = 0, b"\0" * _PIECE
        with (self._of(store) / _FILLER).open("ab", buffering=0) as filler:
            while piece:
                try:
                    written += filler.write(piece)
                except OSError:  # no space left for so much
                    piece = piece[: len(piece) // 2]
        if not written:
            raise HarnessTrouble(f"the volume of {store} was full before")
        return written

    def free(self, store: str) -> int:
        """Give the space back that `fill` took; how many bytes."""
        filler = self._of(store) / _FILLER
        if not filler.exists():
            raise HarnessTrouble(f"the volume of {store} was not filled")
        size = filler.stat().st_size
        filler.unlink()
        return size

    async def enlarge(self, store: Supervised) -> None:
        """Move what a store keeps back to where it was; the store is stopped and started again."""
        folder = self._of(store.name)
        await store.stop()
        (folder / _FILLER).unlink(missing_ok=True)
        aside = folder.with_name(f"{folder.name}.aside")
        shutil.copytree(folder, aside)
        unmount(str(folder))
        del self._small[store.name]
        folder.rmdir()
        aside.rename(folder)
        await store.start()

    @property
    def small(self) -> tuple[str, ...]:
        """Names of the stores that have a small volume."""
        return tuple(self._small)

    def close(self) -> None:
        """Unmount all; who still uses one keeps it until it ends."""
        for folder in self._small.values():
            unmount(str(folder))
        self._small.clear()

    def _of(self, store: str) -> Path:
        if store not in self._small:
            raise HarnessTrouble(f"{store} has no small volume: the disk that it is on is not the harness's to fill")
        return self._small[store]
