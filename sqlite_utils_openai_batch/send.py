"""One send of one part: render, record the intent, upload, create. Or adopt what went out before.

Each step commits before and after its call, so that whatever kills this process, the next pass
knows what may have happened and looks before it sends again.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import clock, store
from .api import BatchState, Provider
from .database import transaction
from .errors import UnrenderableRow
from .limits import limits_for
from .output import Output
from .plan import hashed_columns
from .source import Source, reopen
from .template import Renderer, Template, source_hash

# How long after an intent a batch may still turn up in the provider's lists.
GRACE_SECONDS = 60


@dataclass(frozen=True)
class RenderedPart:
    """A part's file as it is about to be sent."""

    path: Path
    sha256: bytes
    bytes: int
    lines: int
    hashes: list[tuple[bytes, int]]
    gone: list[tuple[str, str | None, str | None, int]]
    overflow: list[int]


class Sender:
    """Renders and sends the parts of one job. Closed at the end of a pass."""

    def __init__(self, conn: sqlite3.Connection, provider: Provider, job: store.Job):
        self.conn = conn
        self.provider = provider
        self.job = job
        self.source: Source | None = None

    def close(self) -> None:
        """Drop what was read from a view or query."""
        if self.source is not None:
            self.source.close()

    def open(self) -> tuple[Source, Renderer, tuple[int, ...]]:
        """The source, the renderer, and which rendered columns a row's hash covers."""
        job = self.job
        if self.source is None:
            self.source = reopen(
                self.conn,
                name=job.source,
                sql=job.source_sql,
                params=job.params,
                key_columns=job.keys,
            )
            self.renderer = Template.from_json(job.template, job.endpoint).bind(
                self.source.columns
            )
            self.hashed = hashed_columns(self.renderer, Output.from_json(job.output))
        return self.source, self.renderer, self.hashed

    def render(self, part: store.Part, folder: Path) -> RenderedPart:
        """Write a part's file from the rows as they are now, a page at a time."""
        source, renderer, hashed = self.open()
        limits = limits_for(self.job.provider, self.job.endpoint)
        path = folder / f"part-{part.number}.jsonl"
        digest = hashlib.sha256()
        hashes: list[tuple[bytes, int]] = []
        gone: list[tuple[str, str | None, str | None, int]] = []
        overflow: list[int] = []
        size = lines = after = 0
        with path.open("wb") as file:
            while page := store.pending_page(self.conn, part.id, after):
                after = page[-1][0]
                found = source.fetch(renderer.columns, [row_key for _, row_key, _ in page])
                for request_id, row_key, asked in page:
                    values = found.get(row_key)
                    if values is None:
                        gone.append(("unrenderable", None, "the row is gone", request_id))
                        continue
                    try:
                        line = renderer.line(f"{self.job.uid}-{request_id}", values)
                    except UnrenderableRow as error:
                        gone.append(("unrenderable", None, str(error), request_id))
                        continue
                    if len(line) > limits.bytes:
                        message = f"one line of {len(line):,} bytes; the limit is {limits.bytes:,}"
                        gone.append(("too_large", None, message, request_id))
                        continue
                    # Rows can have grown since they were planned: the rest is another part's.
                    if overflow or size + len(line) > limits.bytes:
                        overflow.append(request_id)
                        continue
                    is_now = source_hash([values[index] for index in hashed])
                    if is_now != asked:
                        hashes.append((is_now, request_id))
                    digest.update(line)
                    file.write(line)
                    size += len(line)
                    lines += 1
        return RenderedPart(path, digest.digest()[:16], size, lines, hashes, gone, overflow)

    def send(self, part: store.Part) -> BatchState | None:
        """Send a prepared part that this process holds. None where nothing was left to send.

        Raises ProviderError; what state the part is in then is in the database.
        """
        with tempfile.TemporaryDirectory(prefix="openai-batch-") as folder:
            rendered = self.render(part, Path(folder))
            token = self.intend(part, rendered)
            if token is None:
                return None
            part = store.get_part(self.conn, part.id)
            file_id = self.provider.upload(rendered.path, f"{token}.jsonl")
        self.uploaded(part, file_id)
        return self.create(store.get_part(self.conn, part.id))

    def intend(self, part: store.Part, rendered: RenderedPart) -> str | None:
        """Record what is about to be sent, before it is. None where nothing is, or it isn't ours."""
        send = part.sends + 1
        token = f"{self.job.uid}-{part.number}-{send}"
        with transaction(self.conn):
            store.set_outcome(self.conn, rendered.gone)
            store.set_hashes(self.conn, rendered.hashes)
            self.split_off(part, rendered.overflow)
            store.count_outcomes(self.conn, part.id)
            if rendered.lines == 0:
                now = clock.now()
                store.move_part(
                    self.conn, part, "completed", ended_at=now, collected_at=now, requests=0
                )
                return None
            mine = store.move_part(
                self.conn,
                part,
                "uploading",
                sends=send,
                token=token,
                sha256=rendered.sha256,
                intent_at=clock.now(),
                bytes=rendered.bytes,
                requests=rendered.lines,
                input_file_id=None,
                batch_id=None,
            )
            if not mine:
                return None
            store.insert_send(self.conn, part, send, token, rendered.sha256)
            store.log(self.conn, "intent", job_id=self.job.id, part_id=part.id, token=token)
        return token

    def split_off(self, part: store.Part, overflow: list[int]) -> None:
        """Put requests that don't fit any more into a part of their own."""
        if not overflow:
            return
        new = store.insert_part(
            self.conn,
            job_id=self.job.id,
            number=store.next_number(self.conn, self.job.id),
            status="prepared",
            requests=len(overflow),
            bytes=0,
        )
        store.move_requests(self.conn, overflow, new)
        store.count_outcomes(self.conn, new)

    def uploaded(self, part: store.Part, file_id: str) -> None:
        """Record the file's id."""
        with transaction(self.conn):
            store.move_part(self.conn, part, "uploaded", input_file_id=file_id)
            store.update_send(self.conn, part.id, part.sends, input_file_id=file_id)
            store.log(self.conn, "uploaded", job_id=self.job.id, part_id=part.id, file=file_id)

    def create(self, part: store.Part) -> BatchState | None:
        """Create the batch over an uploaded file. None where the part isn't ours any more."""
        assert part.input_file_id is not None
        assert part.token is not None
        assert part.sha256 is not None
        with transaction(self.conn):
            mine = store.renew(self.conn, part) and store.move_part(self.conn, part, "creating")
        if not mine:
            return None
        state = self.provider.create(
            part.input_file_id,
            self.job.endpoint,
            {
                "token": part.token,
                "sha256": part.sha256.hex(),
                "job": self.job.uid,
                "part": str(part.number),
            },
        )
        self.adopt(store.get_part(self.conn, part.id), state, "created")
        return state

    def adopt(self, part: store.Part, state: BatchState, event: str) -> None:
        """Record that this batch is the part's: the one just made, or one found at the provider."""
        now = clock.now()
        send = max(part.sends, 1)
        token = part.token or state.metadata.get("token", "")
        sha256 = part.sha256 or bytes.fromhex(state.metadata.get("sha256", ""))
        with transaction(self.conn):
            if part.sends == 0:
                store.insert_send(self.conn, part, send, token, sha256)
            store.update_part(
                self.conn,
                part.id,
                status=state.status,
                sends=send,
                token=token,
                sha256=sha256,
                batch_id=state.id,
                input_file_id=state.input_file_id or part.input_file_id,
                submitted_at=clock.from_unix(state.created_at) or now,
                expires_at=state.expires_at,
                next_try_at=None,
                errors=None,
            )
            store.update_send(self.conn, part.id, send, batch_id=state.id, status=state.said)
            store.begin_attempt(self.conn, part.id)
            if self.job.submitted_at is None:
                store.update_job(self.conn, self.job.id, submitted_at=now)
            store.log(
                self.conn, event, job_id=self.job.id, part_id=part.id, batch=state.id, token=token
            )

    def look(self) -> dict[int, BatchState]:
        """Batches of this job that the provider knows, by part number: before anything is sent.

        Batches that ended `failed` ran nothing, and those recorded here as ended are done with.
        Of two for one part the older is kept.
        """
        since = clock.parse(self.job.created_at).timestamp() - 300
        ended = store.ended_batches(self.conn, self.job.id)
        found: dict[int, BatchState] = {}
        for state in self.provider.list_since(since):
            number = part_number(self.job.uid, state.metadata)
            if number is None or state.status == "failed" or state.id in ended:
                continue
            if number not in found or state.created_at <= found[number].created_at:
                found[number] = state
        return found


def part_number(uid: str, metadata: Mapping[str, Any]) -> int | None:
    """The part that a batch's token names, where it is one of this job's."""
    pieces = str(metadata.get("token", "")).split("-")
    if len(pieces) != 3 or pieces[0] != uid or not pieces[1].isdecimal():
        return None
    return int(pieces[1])
