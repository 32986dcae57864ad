"""Connections as such, for the faults that break them."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Protocol

from starlette.requests import Request

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 seconds: closing sends a reset instead of an orderly end."""


class Connection(Protocol):
    """What is needed of uvicorn's object for a connection."""

    client: tuple[str, int] | None
    transport: asyncio.Transport


class Connections:
    """The open connections of a server."""

    def __init__(self) -> None:
        self._open: set[Any] = set()

    def watch(self, connections: set[Any]) -> None:
        """Take over uvicorn's own set, which it keeps up to date."""
        self._open = connections

    def _of(self, request: Request) -> Connection | None:
        client = request.scope.get("client")
        matches = (c for c in self._open if client and c.client == tuple(client))
        return next(matches, None)

    async def reset(self, request: Request) -> None:
        """Break a request's connection off with a reset; what was not sent yet is lost."""
        if connection := self._of(request):
            peer: socket.socket = connection.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.transport.abort()
            await self._gone(connection)

    async def end(self, request: Request) -> None:
        """End a request's connection after what was sent so far."""
        if connection := self._of(request):
            connection.transport.close()
            await self._gone(connection)

    async def _gone(self, connection: Connection) -> None:
        while connection in self._open:
            await asyncio.sleep(0.001)
