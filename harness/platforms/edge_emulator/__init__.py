"""An edge cluster in the harness's own event loop: a Kubernetes API good enough for client-go and Python clients.

`problems` says no, `kinds` says what is served, `routes` reads requests, `storage` keeps versions and history,
`patches` merges, `rules` and `behaviour` are what a cluster refuses and adds, `signer` and `monitor` are two of its
controllers, `api` puts them together, `watch` and `server` bring it to HTTP. What it does not do: authentication,
admission, schedulers, pods of workloads, field ownership of server-side apply, conversion between versions, protobuf.
"""

from harness.platforms.edge_emulator.server import EdgeEmulator, LoggedRequest

__all__ = ["EdgeEmulator", "LoggedRequest"]
