"""The control routes: faults, journal and clock of a running server, for tests.

They are no part of OpenAI's API and need the server's own key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ...base.errors import UsageError
from ..protocol.errors import APIError, json_response, missing, object_body
from ..service import Service
from .gate import has_key


class Control:
    """`/-/faults`, `/-/journal` and `/-/clock`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/-/faults", self._guarded(self._faults), methods=["GET"]),
            Route("/-/faults", self._guarded(self._add_fault), methods=["POST"]),
            Route("/-/faults", self._guarded(self._clear_faults), methods=["DELETE"]),
            Route("/-/faults/{name}", self._guarded(self._remove_fault), methods=["DELETE"]),
            Route("/-/journal", self._guarded(self._journal), methods=["GET"]),
            Route("/-/journal", self._guarded(self._clear_journal), methods=["DELETE"]),
            Route("/-/clock", self._guarded(self._advance), methods=["POST"]),
        ]

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Any]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                if not has_key(request, self._service.key):
                    raise APIError(401, "The control routes need the server's own key.")
                return json_response(await handler(request))
            except UsageError as error:
                return APIError(400, str(error)).response()
            except APIError as error:
                return error.response()

        return endpoint

    async def _faults(self, request: Request) -> Any:
        return {"faults": self._service.faults.active()}

    async def _add_fault(self, request: Request) -> Any:
        self._service.faults.add(str(await _parameter(request, "fault")))
        return await self._faults(request)

    async def _clear_faults(self, request: Request) -> Any:
        self._service.faults.clear()
        return await self._faults(request)

    async def _remove_fault(self, request: Request) -> Any:
        self._service.faults.remove(request.path_params["name"])
        return await self._faults(request)

    async def _journal(self, request: Request) -> Any:
        return {"journal": self._service.store.journal()}

    async def _clear_journal(self, request: Request) -> Any:
        self._service.store.clear_journal()
        return {"journal": []}

    async def _advance(self, request: Request) -> Any:
        seconds = await _parameter(request, "advance")
        if not isinstance(seconds, int | float) or seconds < 0:
            raise APIError(400, "'advance' is a number of seconds, 0 or more.", param="advance")
        self._service.clock.advance(seconds)
        return {"now": self._service.clock.now()}


async def _parameter(request: Request, name: str) -> Any:
    body = object_body(await request.body())
    if name not in body:
        raise missing(name)
    return body[name]
