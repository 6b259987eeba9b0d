"""Sending a request to EMCO exactly once."""

from typing import Any

import aiohttp


def one_attempt(limit: float, **options: Any) -> aiohttp.ClientSession:
    """A session whose requests are each sent once and have a connection of their own.

    aiohttp sends PUT and DELETE again where their connection breaks before an answer, as RFC 9110 (9.2.2) permits. What
    is measured here is what one request does, and what its client was told.

    limit: seconds until a request is answered;  options: aiohttp's, for its session
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0),
        timeout=aiohttp.ClientTimeout(total=limit),
        **options,
    )
    session._retry_connection = False  # noqa: SLF001  aiohttp has no public switch; its test client sets it, too
    return session
