"""Errors as the API words them, and the codes that go with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import orjson
from starlette.responses import Response


class APIError(Exception):
    """A request that gets an error for a reply."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": type, "param": param, "code": code}
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the HTTP reply."""
        return json_response({"error": self.error}, self.status, self.headers)


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a reply with a JSON body."""
    return Response(orjson.dumps(content), status, headers=headers, media_type="application/json")


def object_body(content: bytes | bytearray) -> dict[str, Any]:
    """Read the JSON object that a request's body is. Raises APIError for anything else."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        message = "We could not parse the JSON body of your request."
        raise APIError(400, f"{message} (It is not valid JSON: {error}.)") from error
    if not isinstance(body, dict):
        message = f"expected an object, but got {json_type(body)} instead."
        raise APIError(
            400, f"Invalid type for the body of the request: {message}", code="invalid_type"
        )
    return body


def missing(param: str) -> APIError:
    """A required parameter was not given."""
    return APIError(
        400,
        f"Missing required parameter: '{param}'.",
        param=param,
        code="missing_required_parameter",
    )


def invalid_value(param: str, value: Any, supported: Collection[str]) -> APIError:
    """A parameter has none of the values that it may have."""
    options = ", ".join(f"'{option}'" for option in supported)
    message = f"Invalid value: '{value}'. Supported values are: {options}."
    return APIError(400, message, param=param, code="invalid_value")


def invalid_type(param: str, expected: str, value: Any) -> APIError:
    """A parameter has the wrong JSON type."""
    message = (
        f"Invalid type for '{param}': expected {expected}, but got {json_type(value)} instead."
    )
    return APIError(400, message, param=param, code="invalid_type")


def json_type(value: Any) -> str:
    """Name the JSON type of a value, with its article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean",
             int: "an integer", float: "a decimal", type(None): "null"}  # fmt: skip
    return names.get(type(value), "something else")


def rate_limited(message: str, seconds: int) -> APIError:
    """Too many requests; `seconds` is what Retry-After says."""
    return APIError(
        429,
        message,
        type="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"retry-after": str(seconds)},
    )


def no_file(file_id: str) -> APIError:
    """There is no such file, or it is another key's."""
    message = f"No such File object: {file_id}"
    return APIError(404, message, param="id")


def no_batch(batch_id: str) -> APIError:
    """There is no such batch, or it is another key's."""
    return APIError(404, f"No batch found with id '{batch_id}'.", param="batch_id")
