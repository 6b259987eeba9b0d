"""What the lab in a cluster knows of an instance of a service, and of one that is to come up."""

from dataclasses import dataclass

from harness.platforms.kubernetes.pods import Pod


@dataclass(slots=True)
class Instance:
    """An instance that was let in, and whose pod was not replaced since.

    since: the moment before it was let in, as Exits has moments;  pod: once the API server has told of it
    """

    address: str
    since: int
    pod: Pod | None = None

    def containers(self, pods: tuple[Pod, ...]) -> tuple[str, ...]:
        """Every container that it may be, those that ended included."""
        there = [pod for pod in pods if pod.address == self.address]
        known = [*there, *([self.pod] if self.pod is not None else [])]
        return tuple(one for pod in known for one in (pod.container, pod.ended) if one)


@dataclass(slots=True)
class Start:
    """What is seen of a service's pods while one is to come up. has_run: whether any of their programs ever ran."""

    since: int
    has_run: bool = False
    log: str = ""
