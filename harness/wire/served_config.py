"""What a served relay is told to do: its links, its doors, and where it listens for its master; as JSON on the way."""

import json
from dataclasses import dataclass, replace
from typing import Any

from harness.wire.links import REACH_LIMIT, Address, LinkProtocol
from harness.wire.messages import MalformedMessage

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One link as configured.

    upstream: host and port; with `instance` the host is wherever that source's instance is
    gated:    the link is used by its source alone, and only by the instance that was let in. Otherwise several use it
    tls:      where files stand with which TLS is ended and begun again: `TLS.server.pem` is shown to the source,
              `TLS.authority.pem` is believed of the target, `TLS.client.pem` is shown to it. Empty: nobody speaks TLS
    reach:    seconds until a target that does not answer counts as unreachable
    """

    source: str
    target: str
    protocol: LinkProtocol
    listen: Address
    upstream: Address
    instance: bool = False
    gated: bool = True
    streams: tuple[str, ...] = ()
    tls: str = ""
    reach: float = REACH_LIMIT

    def as_door(self) -> "LinkSpec":
        """The same as a door: whoever comes may pass, nothing is decoded."""
        return replace(self, protocol="tcp", gated=False, streams=(), tls="")


@dataclass(frozen=True, slots=True)
class ServedConfig:
    """What a served relay does.

    sources:  those whose instances are let in one at a time
    links:    what is relayed, decoded and counted;  doors: what is only passed on, for who controls it
    control, asks: where it listens for its master
    health:   where it accepts connections, and closes them, once everything listens: for whoever asks if it is ready.
              Not on a link, where it would be taken for an instance of the source
    """

    sources: tuple[str, ...]
    links: tuple[LinkSpec, ...]
    doors: tuple[LinkSpec, ...]
    control: Address
    asks: Address
    health: Address

    def to_json(self) -> str:
        """As `from_json` reads it."""
        names = ("source", "target", "protocol", "listen", "upstream", "instance", "gated", "streams", "tls", "reach")

        def specs(links: tuple[LinkSpec, ...]) -> list[Json]:
            return [{name: getattr(link, name) for name in names} for link in links]

        value = {"sources": self.sources, "control": self.control, "asks": self.asks, "health": self.health}
        return json.dumps({**value, "links": specs(self.links), "doors": specs(self.doors)}, indent=1)

    @staticmethod
    def from_json(text: str) -> "ServedConfig":
        """Raises MalformedMessage."""
        try:
            value = json.loads(text)

            def specs(name: str) -> tuple[LinkSpec, ...]:
                return tuple(_link_spec(link) for link in value[name])

            addresses: dict[str, Any] = {name: tuple(value[name]) for name in ("control", "asks", "health")}
            return ServedConfig(tuple(value["sources"]), specs("links"), specs("doors"), **addresses)
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedMessage(f"the relay's configuration cannot be read: {error!r}") from error


def _link_spec(link: Json) -> LinkSpec:
    fields: Json = {key: tuple(item) if isinstance(item, list) else item for key, item in link.items()}
    return LinkSpec(**fields)
