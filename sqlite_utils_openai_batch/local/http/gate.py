"""What every request passes: its key, the journal, and the faults that strike requests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..protocol.errors import APIError, rate_limited
from ..settings import ORGANIZATION

if TYPE_CHECKING:
    from ..service import Service


# Whose request it is: every non-empty key is an account of its own, unless one is fixed.


def fingerprint(key: str) -> str:
    """What is kept of a key: enough to tell keys apart, too little to use one."""
    return hashlib.sha256(b"local batch server\0" + key.encode()).hexdigest()[:16]


def given_key(headers: Mapping[str, str]) -> str:
    """Return the key of a request, from either of the headers; empty for none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("api-key", "").strip()


def check_key(
    headers: Mapping[str, str], required: str | None
) -> tuple[str | None, APIError | None]:
    """Return the fingerprint of a request's key (None for no key), and why it is refused."""
    key = given_key(headers)
    if not key:
        message = "You didn't provide an API key. Any non-empty one will do, as a Bearer token."
        if required is not None:
            message = "You didn't provide an API key. Send it as a Bearer token."
        return None, APIError(401, message)
    owner = fingerprint(key)
    if required is not None and not hmac.compare_digest(key.encode(), required.encode()):
        message = f"Incorrect API key provided: {key[:3]}…"
        return owner, APIError(401, message, code="invalid_api_key")
    return owner, None


REPLY_LATER = ("slow", "slow-list")

Handler = Callable[[Request, str], Awaitable[Response]]
"""Takes a request and the fingerprint of its key; notes for the journal go to `state.detail`."""


class Gate:
    """Lets requests through to their handlers, or not."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._faults = service.faults

    def endpoint(self, operation: str, handler: Handler) -> Callable[..., Awaitable[Response]]:
        """Return a handler as a route's endpoint; `operation` says which faults concern it."""

        async def endpoint(request: Request) -> Response:
            return await self._pass(operation, handler, request)

        return endpoint

    async def _pass(self, operation: str, handler: Handler, request: Request) -> Response:
        service = self._service
        request.state.detail = {}
        owner, refusal = check_key(request.headers, service.required_key)
        at = service.clock.time()
        try:
            if refusal:
                raise refusal
            response = await self._attempt(operation, handler, request, owner or "")
        except APIError as error:
            response = error.response()
        except ClientDisconnect:  # whoever asked has gone; nobody will read this
            response = APIError(400, "The request was broken off.").response()
            request.state.detail["reply_lost"] = True
        lost = request.state.detail.pop("reply_lost", False)
        service.store.add_journal(
            at=at,
            method=request.method,
            path=request.url.path,
            key=owner,
            status=None if lost else response.status_code,
            detail=request.state.detail,
        )
        return _signed(response)

    async def _attempt(
        self, operation: str, handler: Handler, request: Request, owner: str
    ) -> Response:
        await self._before(operation, request)
        response = await handler(request, owner)
        if self._faults.strike(f"lost-{operation}-reply"):
            await self._lose(request)
        return response

    async def _lose(self, request: Request) -> None:
        await self._service.connections.reset(request)
        request.state.detail["reply_lost"] = True

    async def _before(self, operation: str, request: Request) -> None:
        """Let the faults strike that keep a request from its handler."""
        for name in ("slow", f"slow-{operation}"):
            if name in REPLY_LATER and (slow := self._faults.strike(name)):
                await asyncio.sleep(slow.argument)
        for name in ("server-error", f"{operation}-error"):
            if struck := self._faults.strike(name):
                message = "The server had an error while processing your request. Sorry about that!"
                raise APIError(struck.argument, message, type="server_error")
        if struck := self._faults.strike("rate-limit"):
            raise rate_limited("Rate limit reached. Please try again later.", struck.argument)
        if operation == "list" and self._faults.strike("no-list"):
            raise APIError(404, f"Invalid URL ({request.method} {request.url.path})")
        if operation == "create":
            self._before_create()
        if operation == "upload" and self._faults.strike("reset-upload"):
            await self._reset_upload(request)

    def _before_create(self) -> None:
        if self._faults.strike("file-not-found"):
            message = "Cannot find file, or project proj_local does not have access to it."
            raise APIError(400, message, param="file_id", code="invalid_request")
        if struck := self._faults.strike("token-limit-create"):
            message = f"Enqueued token limit reached. Limit: {struck.argument:,} enqueued tokens."
            raise APIError(400, message, code="token_limit_exceeded")

    async def _reset_upload(self, request: Request) -> None:
        async for _chunk in request.stream():
            break
        await self._lose(request)
        raise APIError(400, "The upload was broken off.")


class OwnNames:
    """Refuses requests whose `Host` is no name of this machine's own, before anything is read.

    A web page can give a name of its own the address 127.0.0.1 (DNS rebinding); its requests say
    that name. The port isn't compared: it differs where it is forwarded.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] == "http" and not is_own_name(host := Headers(scope=scope).get("host")):
            message = (
                f"This server answers to its own names only (localhost, 127.0.0.1, [::1]), and "
                f"was called '{host or ''}'."
            )
            await APIError(403, message, code="unknown_host").response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_own_name(host: str | None) -> bool:
    """Tell whether a `Host` header names this machine, as only it names itself."""
    try:
        name = urlsplit(f"//{host or ''}").hostname or ""
        return name.removesuffix(".") == "localhost" or ip_address(name).is_loopback
    except ValueError:  # no address, or no host at all
        return False


def _signed(response: Response) -> Response:
    """Add the headers that the service's replies carry."""
    response.headers["x-request-id"] = "req_" + secrets.token_hex(16)
    response.headers["openai-version"] = "2020-10-01"
    response.headers["openai-organization"] = ORGANIZATION
    return response


def has_key(request: Request, key: str) -> bool:
    """Tell whether a request carries this very key."""
    return secrets.compare_digest(given_key(request.headers).encode(), key.encode())
