"""The HTTP side: routes, keys and the journal."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from ..errors import Unreachable
from .answers import NoAnswer
from .batches import batch_object, batch_page
from .files import file_object
from .keys import check_key
from .replies import APIError, json_response, no_file
from .service import Service
from .settings import ENDPOINTS
from .uploads import receive_upload

Handler = Callable[["API", Request, str], Awaitable[Response]]


class API:
    """The routes of one server."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def app(self) -> Starlette:
        """Return the application, with every path at `/v1` and at Azure's `/openai`."""
        prefixes = ("/v1", "/openai/v1", "/openai")
        routes: list[BaseRoute] = [
            Route(prefix + path, self._endpoint(handler), methods=[method])
            for prefix in prefixes
            for method, path, handler in self._table()
        ]
        return Starlette(routes=routes)

    def _table(self) -> list[tuple[str, str, Handler]]:
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/files", API.upload),
            ("GET", "/files", API.list_files),
            ("GET", "/files/{id}", API.file),
            ("GET", "/files/{id}/content", API.content),
            ("DELETE", "/files/{id}", API.delete_file),
            ("POST", "/batches", API.create_batch),
            ("GET", "/batches", API.list_batches),
            ("GET", "/batches/{id}", API.batch),
            ("POST", "/batches/{id}/cancel", API.cancel_batch),
            ("GET", "/models", API.models),
            ("GET", "/models/{id:path}", API.model),
        ]
        direct = [e.removeprefix("/v1") for e in ENDPOINTS]
        return [*table, *(("POST", path, API.answer) for path in direct)]

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await self._handle(handler, request)

        return endpoint

    async def _handle(self, handler: Handler, request: Request) -> Response:
        service = self._service
        request.state.detail = {}
        owner, refusal = check_key(request.headers, service.key if service.key_fixed else None)
        entry = service.store.add_journal(
            service.clock.time(), request.method, request.url.path, owner
        )
        try:
            if refusal:
                raise refusal
            response = await handler(self, request, owner or "")
        except APIError as error:
            response = error.response()
        service.store.finish_journal(entry, response.status_code, request.state.detail)
        response.headers["x-request-id"] = "req_" + secrets.token_hex(16)
        response.headers["openai-version"] = "2020-10-01"
        response.headers["openai-organization"] = "local"
        return response

    # files

    async def upload(self, request: Request, owner: str) -> Response:
        """POST /files."""
        service = self._service
        limit = service.limits.upload_bytes
        upload = await receive_upload(request, service.folders.incoming, limit)
        record = service.files.add(owner, upload)
        request.state.detail = {
            "file_id": record.id,
            "filename": record.filename,
            "purpose": record.purpose,
            "bytes": record.bytes,
        }
        return json_response(file_object(record))

    async def list_files(self, request: Request, owner: str) -> Response:
        """GET /files."""
        return json_response(self._service.files.list(owner, request.query_params))

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
        return FileResponse(path, media_type="application/octet-stream", filename=record.filename)

    async def delete_file(self, request: Request, owner: str) -> Response:
        """DELETE /files/{id}."""
        return json_response(self._service.files.delete(owner, _id(request, "file_id")))

    # batches

    async def create_batch(self, request: Request, owner: str) -> Response:
        """POST /batches."""
        body = await _body(request)
        if isinstance(body, dict):
            asked = ("input_file_id", "endpoint", "metadata")
            request.state.detail = {name: body.get(name) for name in asked}
        record = self._service.batches.create(owner, body, {})
        request.state.detail["batch_id"] = record.id
        self._service.runner.submit(record.id)
        return json_response(batch_object(record))

    async def list_batches(self, request: Request, owner: str) -> Response:
        """GET /batches."""
        records, has_more = self._service.batches.list(owner, request.query_params)
        return json_response(batch_page([batch_object(r) for r in records], has_more))

    async def batch(self, request: Request, owner: str) -> Response:
        """GET /batches/{id}."""
        record = self._service.batches.get(owner, _id(request, "batch_id"))
        return json_response(batch_object(record))

    async def cancel_batch(self, request: Request, owner: str) -> Response:
        """POST /batches/{id}/cancel."""
        record = self._service.batches.cancel(owner, _id(request, "batch_id"))
        self._service.runner.cancel(record.id)
        return json_response(batch_object(record))

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
        if not isinstance(body, dict):
            raise APIError(400, "We could not parse the JSON body of your request.")
        path = request.url.path
        url = "/v1" + path.removeprefix("/openai").removeprefix("/v1")
        custom_id = "direct-" + secrets.token_hex(4)
        answer = await self._service.answerer.answer(url, body, custom_id)
        if isinstance(answer, NoAnswer):
            raise APIError(502, answer.message, type="server_error", code=answer.code)
        return json_response(answer.body, answer.status_code)


def model_object(name: str) -> dict[str, Any]:
    """A model as the API shows it."""
    return {"id": name, "object": "model", "created": 1_735_689_600, "owned_by": "local"}


def _id(request: Request, name: str) -> str:
    request.state.detail[name] = request.path_params["id"]
    return str(request.path_params["id"])


async def _body(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        return None
