"""A Files and Batches server that says what a test scripts: limits, lies, cut files."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Line = dict[str, Any]
Refusal = tuple[int, dict[str, Any]]


def failure(message: str, code: str | None = None) -> dict[str, Any]:
    return {"message": message, "type": "invalid_request_error", "param": None, "code": code}


def answer(request: Line, text: str, finish: str = "stop") -> Line:
    """A line of an output file."""
    body = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "finish_reason": finish,
                     "message": {"role": "assistant", "content": text, "refusal": None}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }  # fmt: skip
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": request["custom_id"], "response": response, "error": None}


def failed(request: Line, status: int | None, body: Any = None, error: Any = None) -> Line:
    """A line of an error file."""
    nothing = status is None and body is None
    response = None if nothing else {"status_code": status, "request_id": "", "body": body}
    return {"id": "b", "custom_id": request["custom_id"], "response": response, "error": error}


class Script:
    """What the server does; tests replace what they need. Numbers count from 1."""

    def upload(self, number: int, data: bytes) -> Refusal | None:
        return None

    def create(self, number: int, lines: list[Line]) -> Refusal | None:
        return None

    def validate(self, number: int, lines: list[Line]) -> list[dict[str, Any]]:
        return []

    def line(self, number: int, place: int, request: Line) -> Line | None:
        return answer(request, f"answer {place}")

    def counts(self, total: int, out: int, err: int) -> dict[str, int]:
        return {"total": total, "completed": out, "failed": err}

    def ready(self, number: int) -> bool:
        """Whether a batch may end now."""
        return True

    def download(self, number: int, data: bytes) -> bytes:
        """What comes of a result file at the n-th download of all."""
        return data

    def size(self, data: bytes) -> int | None:
        return len(data)


class Batches:
    """The server, with what it was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.files: dict[str, dict[str, Any]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.created: list[int] = []
        """Requests of each batch that was asked for, refused ones too."""
        self.uploads: list[int] = []
        """Bytes of each upload, refused ones too."""
        self.downloads = 0
        self.ran: list[str] = []
        """The custom_id of each request that was run."""
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Else a body waits 40 ms behind its headers, till the client says that it has those.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                with outer.lock:
                    self.send(*outer.get(self.path.partition("?")[0].removeprefix("/v1")))

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                with outer.lock:
                    self.send(*outer.post(self.path.removeprefix("/v1"), data, self.headers))

            def send(self, status: int, body: Any) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def get(self, path: str) -> tuple[int, Any]:
        if path in ("/files", "/batches"):
            known = self.files if path == "/files" else self.batches
            return 200, {"object": "list", "data": [shown(one) for one in known.values()][::-1],
                         "has_more": False}  # fmt: skip
        if path == "/models":
            return 200, {"object": "list", "data": [{"id": "gpt-4o-mini", "object": "model"}]}
        kind, name, *more = path.strip("/").split("/")
        found = (self.files if kind == "files" else self.batches).get(name)
        if found is None:
            return 404, {"error": failure(f"No such {kind}: {name}")}
        if more:
            self.downloads += 1
            return 200, self.script.download(self.downloads, found["_data"])
        if kind == "batches":
            self.advance(found)
        return 200, shown(found)

    def post(self, path: str, data: bytes, headers: Any) -> tuple[int, Any]:
        if path == "/files":
            return self.upload(data, headers["content-type"])
        if path != "/batches":
            return 404, {"error": failure(f"No {path} here.")}
        asked = json.loads(data)
        lines = [
            json.loads(one) for one in self.files[asked["input_file_id"]]["_data"].splitlines()
        ]
        self.created.append(len(lines))
        number = len(self.created)
        if refused := self.script.create(number, lines):
            return refused[0], {"error": refused[1]}
        batch = {
            "id": f"batch_{number}", "object": "batch", "status": "validating", "errors": None,
            "endpoint": asked["endpoint"], "input_file_id": asked["input_file_id"],
            "completion_window": "24h", "output_file_id": None, "error_file_id": None,
            "created_at": int(time.time()), "expires_at": int(time.time()) + 86_400,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": asked.get("metadata"), "_number": number, "_lines": lines,
        }  # fmt: skip
        self.batches[batch["id"]] = batch
        return 200, shown(batch)

    def upload(self, data: bytes, kind: str) -> tuple[int, Any]:
        boundary = re.search(r'boundary="?([^";]+)', kind)
        assert boundary
        pieces = data.split(b"--" + boundary[1].encode())
        (piece,) = (one for one in pieces if b"filename=" in one)
        head, _, content = piece.partition(b"\r\n\r\n")
        content = content.removesuffix(b"\r\n")
        name = re.search(rb'filename="([^"]+)"', head)
        assert name
        self.uploads.append(len(content))
        if refused := self.script.upload(len(self.uploads), content):
            return refused[0], {"error": refused[1]}
        return 200, shown(self.files[self.keep(content, name[1].decode(), "batch")])

    def keep(self, data: bytes, name: str, purpose: str) -> str:
        file_id = f"file-{len(self.files) + 1}"
        size = len(data) if purpose == "batch" else self.script.size(data)
        self.files[file_id] = {
            "id": file_id, "object": "file", "bytes": size, "created_at": int(time.time()),
            "filename": name, "purpose": purpose, "status": "processed", "_data": data,
        }  # fmt: skip
        return file_id

    def advance(self, batch: dict[str, Any]) -> None:
        """Bring a batch one state further."""
        script, number, now = self.script, batch["_number"], int(time.time())
        if batch["status"] == "validating":
            errors = script.validate(number, batch["_lines"])
            if errors:
                batch.update(status="failed", failed_at=now, errors={"data": errors})
            else:
                batch.update(status="in_progress", in_progress_at=now)
        elif batch["status"] == "in_progress" and script.ready(number):
            lines: dict[str, list[bytes]] = {"out": [], "err": []}
            for place, request in enumerate(batch["_lines"], 1):
                self.ran.append(request["custom_id"])
                line = script.line(number, place, request)
                if line is not None:
                    ok = (line["response"] or {}).get("status_code") == 200
                    lines["out" if ok else "err"].append(json.dumps(line).encode() + b"\n")
            out, err = lines["out"], lines["err"]
            batch.update(
                status="completed", completed_at=now,
                output_file_id=self.keep(b"".join(out), "out", "batch_output") if out else None,
                error_file_id=self.keep(b"".join(err), "err", "batch_output") if err else None,
                request_counts=script.counts(len(batch["_lines"]), len(out), len(err)),
            )  # fmt: skip


def shown(known: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if not name.startswith("_")}


@contextmanager
def serving(script: Script) -> Iterator[Batches]:
    """Run a server that does as `script` says."""
    server = Batches(script)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()
