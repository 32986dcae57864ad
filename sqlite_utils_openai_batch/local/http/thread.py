"""uvicorn in a thread: starts at once, stops at once, leaves signals and logging alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from ..service import Service

GRACE = 1.0
"""Seconds that requests in flight may still take when the server stops."""


class _Uvicorn(uvicorn.Server):
    """uvicorn without its waits of a tenth of a second."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._service = service
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._service.connections.watch(self.server_state.connections)
        await self._service.start()
        await super().startup(sockets=sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        assert self._stopping is not None
        await self._stopping.wait()

    def stop(self) -> None:
        """Ask the server to stop, from any thread."""
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A connection that was accepted but not yet taken over when its listener closes would
        # leak: first accept no more, then let those come through, then close.
        with contextlib.suppress(NotImplementedError):  # Windows has no readers
            for listener in sockets or []:
                asyncio.get_running_loop().remove_reader(listener)
        await _turns()
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(list(self.server_state.tasks), timeout=GRACE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._service.stop()
        await _turns()


async def _turns() -> None:
    """Let callbacks run, and those that they call."""
    for _ in range(5):
        await asyncio.sleep(0)


class Serving:
    """One application on one socket, served by a thread."""

    def __init__(self, app: ASGIApp, service: Service, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        self._listener = listener
        self._server = _Uvicorn(config, service)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="local batch server", daemon=True)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException as error:  # noqa: BLE001  kept for the thread that waits in start
            self._error = error
        finally:
            self._server.ready.set()
            self._listener.close()

    def start(self) -> None:
        """Start the thread; returns when connections are accepted."""
        self._thread.start()
        self._server.ready.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Stop the server and wait for its thread."""
        self._server.stop()
        self._thread.join()

    def join(self) -> None:
        """Wait for the thread's end; raises what it failed with."""
        while self._thread.is_alive():
            self._thread.join(1.0)  # without a limit, Windows would not see Ctrl-C
        if self._error is not None:
            raise self._error
