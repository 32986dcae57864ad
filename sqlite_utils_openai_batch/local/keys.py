"""Whose request it is: every non-empty key is an account of its own, unless one is fixed."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from .replies import APIError


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
