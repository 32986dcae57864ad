"""The routes of the API."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Match, Route

from ...base.errors import Unreachable
from ..batches.answering import answer_of
from ..batches.batches import batch_object
from ..batches.files import file_object, page
from ..batches.store import BatchRecord
from ..batches.uploads import receive_upload
from ..protocol.answers import NoAnswer
from ..protocol.errors import APIError, json_response, no_file, object_body
from ..protocol.events import streamed, takes_stream
from ..service import Service
from ..settings import ENDPOINTS
from .control import Control
from .gate import Gate, Handler

PREFIXES = ("/v1", "/openai/v1", "/openai")
"""OpenAI's, Azure's new and Azure's old; the last two take `api-key` for a header."""

BODY_BYTES = 64 * 1024 * 1024
"""More than this is no body of a request that isn't an upload."""

DEPLOYMENT = "/openai/deployments/{deployment}"


class API:
    """The handlers of one server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._faults = service.faults

    def app(self) -> Starlette:
        """Return the application."""
        gate = Gate(self._service)
        direct = [endpoint.removeprefix("/v1") for endpoint in ENDPOINTS]
        routes: list[BaseRoute] = [
            Route(prefix + path, gate.endpoint(operation, handler), methods=[method])
            for prefix in PREFIXES
            for method, path, operation, handler in self._table()
        ]
        routes += [
            Route(prefix + path, gate.endpoint("answer", self.answer), methods=["POST"])
            for prefix in (*PREFIXES, DEPLOYMENT)
            for path in direct
        ]
        return Starlette(
            routes=[*routes, *Control(self._service).routes()],
            exception_handlers={404: _unknown_url, 405: _other_method},
        )

    def _table(self) -> list[tuple[str, str, str, Handler]]:
        return [
            ("POST", "/files", "upload", self.upload),
            ("GET", "/files", "list", self.list_files),
            ("GET", "/files/{id}", "retrieve", self.file),
            ("GET", "/files/{id}/content", "download", self.content),
            ("DELETE", "/files/{id}", "delete", self.delete_file),
            ("POST", "/batches", "create", self.create_batch),
            ("GET", "/batches", "list", self.list_batches),
            ("GET", "/batches/{id}", "retrieve", self.batch),
            ("POST", "/batches/{id}/cancel", "cancel", self.cancel_batch),
            ("GET", "/models", "models", self.models),
            ("GET", "/models/{id:path}", "models", self.model),
        ]

    # files

    async def upload(self, request: Request, owner: str) -> Response:
        """POST /files."""
        service = self._service
        limit = service.limits.upload_bytes
        upload = await receive_upload(request, service.folders.incoming, limit)
        pending = self._faults.strike("pending-file")
        reads = pending.argument if pending else 0
        record = service.files.add(owner, upload, reads_until_processed=reads)
        request.state.detail = {
            "file_id": record.id,
            "filename": record.filename,
            "purpose": record.purpose,
            "bytes": record.bytes,
        }
        return json_response(file_object(record))

    async def list_files(self, request: Request, owner: str) -> Response:
        """GET /files."""
        query, until = self._list_query(request)
        return self._listed(self._service.files.list(owner, query, until=until))

    async def file(self, request: Request, owner: str) -> Response:
        """GET /files/{id}."""
        record = self._service.files.read(owner, _id(request, "file_id"))
        return json_response(file_object(record))

    async def content(self, request: Request, owner: str) -> Response:
        """GET /files/{id}/content."""
        record = self._service.files.get(owner, _id(request, "file_id"))
        path = self._service.folders.file(record.id)
        if not path.exists():
            raise no_file(record.id)
        if self._faults.strike("reset-download"):
            connections = self._service.connections
            return half_of(path, record.filename, lambda: connections.end(request))
        if slow := self._faults.strike("slow-download"):
            return slowly(path, record.filename, slow.argument)
        return whole_file(path, record.filename)

    async def delete_file(self, request: Request, owner: str) -> Response:
        """DELETE /files/{id}."""
        return json_response(self._service.files.delete(owner, _id(request, "file_id")))

    # batches

    async def create_batch(self, request: Request, owner: str) -> Response:
        """POST /batches."""
        body = await _body(request)
        asked = ("input_file_id", "endpoint", "metadata")
        request.state.detail = {name: body.get(name) for name in asked}
        record = self._service.batches.create(owner, body, self._faults.bind)
        request.state.detail["batch_id"] = record.id
        self._service.runner.submit(record.id)
        return self._shown(record)

    async def list_batches(self, request: Request, owner: str) -> Response:
        """GET /batches."""
        query, until = self._list_query(request)
        records, has_more = self._service.batches.list(owner, query, until=until)
        now = self._service.clock.time()
        return self._listed(page([batch_object(record, now) for record in records], has_more))

    async def batch(self, request: Request, owner: str) -> Response:
        """GET /batches/{id}."""
        return self._shown(self._service.batches.get(owner, _id(request, "batch_id")))

    async def cancel_batch(self, request: Request, owner: str) -> Response:
        """POST /batches/{id}/cancel."""
        record = self._service.batches.cancel(owner, _id(request, "batch_id"))
        self._service.runner.cancel(record.id)
        return self._shown(record)

    def _shown(self, record: BatchRecord) -> Response:
        return json_response(batch_object(record, self._service.clock.time()))

    # lists

    def _list_query(self, request: Request) -> tuple[Mapping[str, str], float | None]:
        query = dict(request.query_params)
        if self._faults.is_on("no-has-more"):
            query.pop("after", None)
        stale = self._faults.strike("stale-list")
        return query, self._service.clock.time() - stale.argument if stale else None

    def _listed(self, listed: dict[str, Any]) -> Response:
        if self._faults.strike("no-has-more"):
            del listed["has_more"]
        return json_response(listed)

    # answers without a batch

    async def models(self, request: Request, owner: str) -> Response:
        """GET /models."""
        names = await self._models()
        return json_response({"object": "list", "data": [model_object(name) for name in names]})

    async def model(self, request: Request, owner: str) -> Response:
        """GET /models/{id}."""
        name = request.path_params["id"]
        if name not in await self._models():
            message = f"The model '{name}' does not exist."
            raise APIError(404, message, param="model", code="model_not_found")
        return json_response(model_object(name))

    async def _models(self) -> list[str]:
        try:
            return await self._service.answerer.models()
        except Unreachable as error:
            raise APIError(502, str(error), type="server_error") from error

    async def answer(self, request: Request, owner: str) -> Response:
        """POST to an endpoint itself: one answer at once."""
        body = await _body(request)
        if deployment := request.path_params.get("deployment"):
            body = {"model": deployment, **body}
        url = next(e for e in ENDPOINTS if request.url.path.endswith(e.removeprefix("/v1")))
        stream, usage = takes_stream(url, body)
        custom_id = "direct-" + secrets.token_hex(4)
        answer = await answer_of(self._service.answerer, url, body, custom_id)
        if isinstance(answer, NoAnswer):
            raise APIError(502, answer.message, type="server_error", code=answer.code)
        if stream and answer.status_code == 200:
            return streamed(url, answer.body, usage=usage)
        return json_response(answer.body, answer.status_code)


def model_object(name: str) -> dict[str, Any]:
    """A model as the API shows it."""
    return {"id": name, "object": "model", "created": 1_735_689_600, "owned_by": "local"}


def _id(request: Request, name: str) -> str:
    request.state.detail[name] = request.path_params["id"]
    return str(request.path_params["id"])


async def _body(request: Request) -> dict[str, Any]:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_BYTES:
            raise APIError(413, f"The request body is too large: at most {BODY_BYTES} bytes.")
    return object_body(content)


async def _other_method(request: Request, error: Exception) -> Response:
    """The reply to a method that a known path doesn't take; `Allow` names those that it does."""
    allowed: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            allowed |= route.methods or set()
    message = (
        f"Not allowed to {request.method} on {request.url.path}. "
        "(HINT: Perhaps you meant to use a different HTTP method?)"
    )
    headers = {"allow": ", ".join(sorted(allowed))}
    return APIError(405, message, code="method_not_supported", headers=headers).response()


async def _unknown_url(request: Request, error: Exception) -> Response:
    message = f"Invalid URL ({request.method} {request.url.path})"
    return APIError(404, message, code="unknown_url").response()


# Downloads: whole, slow, or cut off in the middle.

CHUNK = 65_536
MEDIA_TYPE = "application/octet-stream"


def whole_file(path: Path, filename: str) -> Response:
    """Return a file as it is."""
    return FileResponse(path, media_type=MEDIA_TYPE, filename=filename)


def slowly(path: Path, filename: str, pause: float) -> Response:
    """Return a file with a pause of so many seconds after each 64 KB."""
    return _streamed(path, filename, _slow_chunks(path, pause))


def half_of(path: Path, filename: str, cut: Callable[[], Awaitable[None]]) -> Response:
    """Promise the whole file, send half of it, then `cut` the connection."""
    return _streamed(path, filename, _half(path, cut))


def _streamed(path: Path, filename: str, chunks: AsyncIterator[bytes]) -> Response:
    headers = {
        "content-length": str(path.stat().st_size),
        "content-disposition": f"attachment; filename*=utf-8''{quote(filename)}",
    }
    return StreamingResponse(chunks, media_type=MEDIA_TYPE, headers=headers)


async def _slow_chunks(path: Path, pause: float) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
            await asyncio.sleep(pause)


async def _half(path: Path, cut: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
    left = path.stat().st_size // 2
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
    await cut()
