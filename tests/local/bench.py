"""What the tests of the local batch server do with one: lines, uploads, whole batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from openai.types import Batch, FileObject

from sqlite_utils_openai_batch.local import LocalServer

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"


def chat(text: str = "hello", **body: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **body}


def request_line(custom_id: Any, body: Any, url: str = CHAT, **extra: Any) -> str:
    """One line of an input file."""
    line = {"custom_id": custom_id, "method": "POST", "url": url, "body": body, **extra}
    return json.dumps(line) + "\n"


def request_lines(bodies: Iterable[Any], url: str = CHAT) -> str:
    """An input file whose custom_ids are r-1, r-2 …"""
    return "".join(request_line(f"r-{n}", body, url) for n, body in enumerate(bodies, 1))


@dataclass
class Bench:
    """A server, a client, and what one does with them."""

    server: LocalServer
    client: openai.OpenAI

    def raw(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send a request as it is; `path` begins after `/v1`, or with `/-/`."""
        root = self.server.base_url.removesuffix("/v1")
        url = root + path if path.startswith("/-/") else self.server.base_url + path
        headers = {"authorization": f"Bearer {self.server.key}", **more.pop("headers", {})}
        return httpx2.request(method, url, headers=headers, timeout=30, **more)

    def upload(self, content: str | bytes, name: str = "input.jsonl") -> FileObject:
        """Upload an input file."""
        data = content.encode() if isinstance(content, str) else content
        return self.client.files.create(file=(name, data), purpose="batch")

    def create(self, content: str | bytes, endpoint: str = CHAT, **more: Any) -> Batch:
        """Upload an input file and create its batch."""
        return self.client.batches.create(
            input_file_id=self.upload(content).id,
            endpoint=endpoint,  # type: ignore[arg-type]
            completion_window="24h",
            **more,
        )

    def ended(self, batch: Batch) -> Batch:
        """Wait until a batch has ended."""
        self.server.wait_for(batch.id)
        return self.client.batches.retrieve(batch.id)

    def run(self, content: str | bytes, endpoint: str = CHAT, **more: Any) -> Batch:
        """Run a whole batch."""
        return self.ended(self.create(content, endpoint, **more))

    def bytes(self, file_id: str | None) -> bytes:
        """The content of a file."""
        assert file_id
        return self.client.files.content(file_id).content

    def lines(self, file_id: str | None) -> dict[str, dict[str, Any]]:
        """The lines of an output or error file by their custom_id."""
        parsed = [json.loads(line) for line in self.bytes(file_id).split(b"\n") if line]
        assert len({line["custom_id"] for line in parsed}) == len(parsed)
        return {line["custom_id"]: line for line in parsed}

    def texts(self, batch: Batch) -> dict[str, Any]:
        """The texts of a batch's chat completions by their custom_id."""
        return {key: text_of(line) for key, line in self.lines(batch.output_file_id).items()}

    def errors(self, batch: Batch) -> list[tuple[str | None, int | None, str | None, str | None]]:
        """Code, line, parameter and message of each validation error."""
        data = batch.errors.data if batch.errors else None
        return [(e.code, e.line, e.param, e.message) for e in data or []]


def text_of(line: Mapping[str, Any]) -> Any:
    """The text of one chat completion."""
    return line["response"]["body"]["choices"][0]["message"]["content"]


Serve = Callable[..., Bench]
"""Starts a server with arguments of `LocalServer`."""
