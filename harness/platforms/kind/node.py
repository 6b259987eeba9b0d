"""What happens on a kind node, as its container runtime tells: who started, who died of what; and killing there."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.faults.victim import Death, HarnessTrouble
from harness.platforms.commands import CommandFails, begun, command, ended

_KILL_LIMIT = 20.0
_LONGEST_LINE = 1024 * 1024
_AGAIN = 0.5
_EXIT = b" /tasks/exit "


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container's process ended, as containerd reaped it.

    pid: on the node;  status: exit code, or 128 and the number of a signal
    unreaped: what was seen of its end, where the runtime is out of reach; its pid is 0 then, as is a status not known
    overlap:  seconds for which a replacement may have run beside it
    """

    container: str
    pid: int
    status: int
    unreaped: str = ""
    overlap: float = 0.0

    @property
    def signal(self) -> int:
        """Number of the signal that ended it; 0 when it exited by itself."""
        return self.status - 128 if self.status > 128 else 0

    def death(self, victim: str) -> Death:
        """The same as the end of a victim."""
        return Death(victim, self.pid, self.signal, 0 if self.signal else self.status, self.unreaped, self.overlap)


class KindNode:
    """One node, a container here. Use begin() first, close() at the end.

    ended:  is called with every end of a container's process that the harness did not cause
    missed: is called with a sentence when ends may not have been seen
    follow: the program that prints the runtime's events, a line each; as docker runs it on the node unless named
    """

    def __init__(
        self,
        name: str,
        *,
        ended: Callable[[Exit], None],
        missed: Callable[[str], None],
        follow: Sequence[str] = (),
    ) -> None:
        self._name = name
        self._ended = ended
        self._missed = missed
        self._program = follow or ("docker", "exec", name, "ctr", "--namespace", "k8s.io", "events")
        self._exits: dict[str, asyncio.Future[Exit]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._followed = False
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Follow the runtime's events."""
        self._process, self._followed = await self._events(), True
        self._task = asyncio.ensure_future(self._follow(self._process))

    async def _events(self) -> asyncio.subprocess.Process:
        return await begun(self._program, stderr=asyncio.subprocess.DEVNULL, longest_line=_LONGEST_LINE)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._end()

    async def _end(self) -> None:
        """Also for whoever is asked to end while this is under way: then it is still known what has to be ended."""
        self._followed = False
        if self._process is not None:
            await ended(self._process)
            self._process = None

    async def kill(self, container: str) -> Exit:
        """SIGKILL to a container's process, and what the runtime reaped. Raises HarnessTrouble when it is not there."""
        if not self._followed:
            raise HarnessTrouble(f"the events of node {self._name} are not followed now")
        end = self._exits.setdefault(container, asyncio.get_running_loop().create_future())
        try:
            await self._ctr("tasks", "kill", "--signal", "SIGKILL", container)
            async with asyncio.timeout(_KILL_LIMIT):
                return await end
        except TimeoutError:
            raise HarnessTrouble(f"container {container[:12]} got SIGKILL, but its end was not seen") from None
        finally:
            del self._exits[container]

    @property
    def missing(self) -> str:
        """Nothing is: it is within reach."""
        return ""

    async def pause(self, container: str) -> None:
        """Stop a container's processes from running, without ending them."""
        await self._ctr("tasks", "pause", container)

    async def resume(self, container: str) -> None:
        """Let them run again."""
        await self._ctr("tasks", "resume", container)

    async def remove(self, folder: str) -> None:
        """Remove a folder of the node with all it holds."""
        await remove_on_node(self._name, folder)

    async def _ctr(self, *arguments: str) -> None:
        await command("docker", "exec", self._name, "ctr", "--namespace", "k8s.io", *arguments, limit=_KILL_LIMIT)

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        """Whatever ends the events, they are followed again: until then ends are missed, and that is told."""
        while True:
            why = await self._read(process)
            self._missed(f"{why}; ends of containers may have been missed")
            await self._end()
            await asyncio.sleep(_AGAIN)  # whatever ended it may last; nothing announces its end
            try:
                process = self._process = await self._events()
            except CommandFails as error:
                self._missed(f"the events of node {self._name} cannot be followed: {error}")
            else:
                self._followed = True
                self._missed(f"the events of node {self._name} were not followed for a while")

    async def _read(self, process: asyncio.subprocess.Process) -> str:
        """Why no more can be read."""
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                if _EXIT in line:
                    self._told(line)
        except (OSError, ValueError) as error:  # a line that is too long is a ValueError
            return f"the events of node {self._name} cannot be read: {error}"
        return f"the events of node {self._name} came to an end"

    def _told(self, line: bytes) -> None:
        try:
            told = json.loads(line[line.index(b"{") :])
            one = Exit(str(told["container_id"]), int(told["pid"]), int(told.get("exit_status", 0)))
            of_a_command = told["id"] != told["container_id"]  # in the container, as a probe is
        except (ValueError, KeyError, TypeError) as error:
            self._missed(f"node {self._name} told of an end that cannot be read: {line[:200]!r} ({error!r})")
            return
        if of_a_command:
            return
        waiting = self._exits.get(one.container)
        if waiting is not None and not waiting.done():
            waiting.set_result(one)
        else:
            self._ended(one)


async def remove_on_node(node: str, folder: str) -> None:
    """Remove a folder of a node with all it holds; one that is not there is fine."""
    await command("docker", "exec", node, "rm", "-rf", "--", folder, limit=_KILL_LIMIT)
