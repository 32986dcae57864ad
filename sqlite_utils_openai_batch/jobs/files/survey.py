"""Files of answers that somebody brings by hand: read once, before anything is written.

Says which requests of which jobs their lines answer, and what else is in them. A file that holds
no answer to any request here is refused with a sentence that says what it is.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import sqlite3
import tempfile
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from ... import store
from ...answers.jsonl import iter_lines
from ...answers.reader import own_id
from ...answers.wire import BUILDING, NOTHING, Body, read_line
from ...base.errors import FileError
from ...base.file_kinds import refuse_others
from ...base.text import counted
from ...store import outcomes

#: Lines of nobody, shown as examples.
EXAMPLES = 3
GZIP = b"\x1f\x8b"
BLANK = -1
NOBODY = -2

# A job's id, and one of its parts: whose requests lines answer.
Place = tuple[int, int]
# Hears how far it is, in words.
Told = Callable[[str], None]


class Envelope(msgspec.Struct, gc=False):
    """A line, as far as it says whose it is, and whether it is an answer at all."""

    custom_id: str | None = None
    response: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    url: msgspec.Raw = NOTHING
    body: msgspec.Raw = NOTHING

    @property
    def is_request(self) -> bool:
        """Whether this is a line that asks."""
        asks = self.body != NOTHING and self.url != NOTHING
        return asks and self.response == NOTHING and self.error == NOTHING


with BUILDING:
    _envelope = msgspec.json.Decoder(Envelope).decode


@dataclass
class AnswerFile:
    """A file of answers, and whose they are."""

    name: str
    path: Path
    """Where its lines are: a copy where the file itself can't be read twice."""
    file_id: str = ""
    """`import-` and the hash of its bytes: the same content is the same file."""
    lines: int = 0
    broken: int = 0
    """Lines that name no request at all: cut, or no JSON object."""
    unknown: int = 0
    """Lines with a custom_id of no request in this database."""
    examples: list[str] = field(default_factory=list)
    """The first of those custom_ids, with their line numbers."""
    places: dict[Place, int] = field(default_factory=dict)
    """Whose requests its lines answer, in the order of their first lines, and how many lines."""
    whose: array[int] = field(default_factory=lambda: array("i"))
    """For each line, blank ones too, the number of its place, BLANK or NOBODY."""


class Hashed:
    """A binary file that is hashed as its lines are read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, `size` at most."""
        data = self.file.read(size)
        self.hash.update(data)
        return data

    def readline(self, size: int = -1, /) -> bytes:
        """Return the next line, or `size` bytes of it."""
        line = self.file.readline(size)
        self.hash.update(line)
        return line


class Surveyor:
    """Reads files of answers for one database; `folder` is for copies, gone with its owner."""

    def __init__(self, conn: sqlite3.Connection, db: str, folder: Path, told: Told) -> None:
        self.conn = conn
        self.db = db
        self.folder = folder
        self.told = told
        self.jobs = {job.uid: job for job in store.list_jobs(conn)}
        if not self.jobs:
            raise FileError(f"No jobs in '{db}' yet: there is nothing that these could answer.")

    def survey(self, names: Sequence[str]) -> list[AnswerFile]:
        """Read files, each content once. Raises FileError for one that answers nothing here."""
        found: dict[str, AnswerFile] = {}
        for number, name in enumerate(names):
            file = AnswerFile(name, self.readable(Path(name), number))
            self.read(file)
            found.setdefault(file.file_id, file)
        return list(found.values())

    def readable(self, path: Path, number: int) -> Path:
        """The file itself, or a copy of what can't be read twice (a pipe) or is packed (gzip)."""
        if path.is_dir():
            raise FileError(f"'{path}' is a folder. Name the files in it.")
        try:
            if not path.is_file():
                path = copied(path.open("rb"), self.folder / f"{number}.copy")
            with path.open("rb") as file:
                packed = file.read(len(GZIP)) == GZIP
            return copied(gzip.open(path), self.folder / f"{number}.jsonl") if packed else path
        except FileNotFoundError as error:
            raise FileError(f"No such file: '{path}'.") from error
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise FileError(f"'{path}' can't be read: {reason}.") from error

    def read(self, file: AnswerFile) -> None:
        """Read one file: hash it, and find out whose its lines are."""
        numbers: dict[Place, int] = {}
        with file.path.open("rb") as opened:
            hashed = Hashed(opened)
            for at, lines in iter_lines(hashed):
                ids = [self.custom_id(file, *one) for one in zip(at, lines, strict=True)]
                for number, custom_id, place in zip(at, ids, self.owners(ids), strict=True):
                    file.whose.extend([BLANK] * (number - 1 - len(file.whose)))
                    if place is None:
                        file.whose.append(NOBODY)
                        self.note(file, number, custom_id)
                    else:
                        file.whose.append(numbers.setdefault(place, len(numbers)))
                        file.places[place] = file.places.get(place, 0) + 1
                file.lines += len(lines)
                self.told(f"{file.name}: {file.lines:,} lines read")
        file.file_id = f"import-{hashed.hash.hexdigest()[:32]}"
        if not file.places:
            raise FileError(self.why_nothing(file))

    def custom_id(self, file: AnswerFile, number: int, line: bytes) -> str | None:
        """Whom a line names. Raises FileError where it is a request."""
        try:
            envelope = _envelope(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            read = read_line(line, Body)
            return read[0].custom_id if read else None
        if envelope.is_request:
            raise FileError(
                f"'{file.name}' holds requests, not answers (line {number:,} has a body, and no "
                "response). Bring the file that was made of it: a batch's output or error file."
            )
        return envelope.custom_id

    def owners(self, custom_ids: Sequence[str | None]) -> list[Place | None]:
        """The job and part of the request that each names; None where there is none."""
        by_job: dict[int, set[int]] = {}
        named: list[tuple[int, int] | None] = []
        for custom_id in custom_ids:
            uid, _, _ = (custom_id or "").rpartition("-")
            job = self.jobs.get(uid)
            request_id = own_id(f"{uid}-", custom_id) if job else None
            if job is None or request_id is None:
                named.append(None)
            else:
                named.append((job.id, request_id))
                by_job.setdefault(job.id, set()).add(request_id)
        parts = {
            job_id: {
                request_id: part_id
                for request_id, part_id, *_ in outcomes.asked(
                    self.conn, job_id, sorted(ids)
                ).values()
            }
            for job_id, ids in by_job.items()
        }
        owners: list[Place | None] = []
        for one in named:
            part_id = parts[one[0]].get(one[1]) if one else None
            owners.append((one[0], part_id) if one and part_id is not None else None)
        return owners

    def note(self, file: AnswerFile, number: int, custom_id: str | None) -> None:
        """Count a line that is nobody's."""
        if custom_id is None:
            file.broken += 1
            return
        file.unknown += 1
        if len(file.examples) < EXAMPLES:
            shown = custom_id if len(custom_id) <= 40 else custom_id[:39] + "…"
            file.examples.append(f"'{shown}' (line {number:,})")

    def why_nothing(self, file: AnswerFile) -> str:
        """Why a file can't be taken in at all. Raises FileError for one of another kind."""
        if not file.lines:
            return f"'{file.name}' is empty: there is no answer in it."
        if not file.unknown:
            refuse_others(file.path, "answers")
            return (
                f"'{file.name}' is not an output file of a batch: none of its "
                f"{counted(file.lines, 'line')} is a JSON object with a custom_id."
            )
        newest = next(iter(self.jobs.values()))
        return (
            f"No line of '{file.name}' answers a request in '{self.db}': its custom_ids are like "
            f"{file.examples[0]}, those of job {newest.id} are like '{newest.uid}-1'."
        )


def copied(opened: IO[bytes] | gzip.GzipFile, to: Path) -> Path:
    """Copy what is left of an open file to a new one; the first is closed."""
    with opened as source, to.open("wb") as target:
        shutil.copyfileobj(source, target)
    return to


def by_place(file: AnswerFile, folder: Path) -> dict[Place, Path]:
    """For each place a file with only its lines, under the numbers that they have in `file`.

    Lines of nobody go with the first place. Where there is no other, it is `file` itself.
    """
    if len(file.places) == 1:
        return dict.fromkeys(file.places, file.path)
    own = Path(tempfile.mkdtemp(dir=folder))
    paths = [own / f"{n}.jsonl" for n in range(len(file.places))]
    written = [0] * len(paths)
    with file.path.open("rb") as source:
        for numbers, lines in iter_lines(source):
            blocks: dict[int, list[bytes]] = {}
            for number, line in zip(numbers, lines, strict=True):
                n = max(file.whose[number - 1], 0)
                # Blank lines are counted and skipped: so each line keeps its number.
                gap = b"\n" * (number - 1 - written[n])
                blocks.setdefault(n, []).append(gap + line + b"\r\n")
                written[n] = number
            for n, block in blocks.items():
                # Opened for each block: there may be more places than files can be open.
                with paths[n].open("ab") as target:
                    target.writelines(block)
    return dict(zip(file.places, paths, strict=True))
