"""Files of answers that somebody brings by hand: read once, before anything is written.

Says which requests of which jobs their lines answer, and what else is in them. A file that holds
no answer to any request here is refused with a sentence that says what it is.
"""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import tempfile
import zlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

import msgspec
import xxhash

from ... import store
from ...answers.jsonl import iter_lines
from ...answers.reader import own_id
from ...answers.wire import BUILDING, NOTHING, Body, read_each, read_line
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
        self.hash = xxhash.xxh3_128()

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


class WholeParts:
    """Whose requests are, by the parts of a job that hold all between their first and last."""

    def __init__(self, job_id: int, spans: Sequence[tuple[int, int, int]]) -> None:
        """`spans` are (first request, last request, part), in ascending order."""
        self.firsts = [first for first, _, _ in spans]
        self.lasts = [last for _, last, _ in spans]
        self.places: list[Place] = [(job_id, part_id) for _, _, part_id in spans]

    def of(self, request_id: int) -> Place | None:
        """The place of a request; None where that has to be looked up."""
        n = bisect_right(self.firsts, request_id) - 1
        return self.places[n] if n >= 0 and request_id <= self.lasts[n] else None


class Surveyor:
    """Reads files of answers for one database; `folder` is for copies, gone with its owner."""

    def __init__(self, conn: sqlite3.Connection, db: str, folder: Path, told: Told) -> None:
        self.conn = conn
        self.db = db
        self.folder = folder
        self.told = told
        self.jobs = {job.uid: job for job in store.list_jobs(conn)}
        self.whole: dict[int, WholeParts] = {}
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
        numbers: dict[Place | None, int] = {}
        with file.path.open("rb") as opened:
            hashed = Hashed(opened)
            for at, lines in iter_lines(hashed):
                ids = self.custom_ids(file, at, lines)
                owners = self.owners(ids)
                for place, count in Counter(owners).items():
                    if place is not None:
                        numbers.setdefault(place, len(numbers))
                        file.places[place] = file.places.get(place, 0) + count
                whose = [numbers.get(place, NOBODY) for place in owners]
                if isinstance(at, range) and len(file.whose) == at[0] - 1:
                    file.whose.extend(whose)
                else:
                    for number, one in zip(at, whose, strict=True):
                        file.whose.extend([BLANK] * (number - 1 - len(file.whose)))
                        file.whose.append(one)
                if None in owners:
                    for number, custom_id, place in zip(at, ids, owners, strict=True):
                        if place is None:
                            self.note(file, number, custom_id)
                file.lines += len(lines)
                self.told(f"{file.name}: {file.lines:,} lines read")
        file.file_id = f"import-{hashed.hash.hexdigest()}"
        if not file.places:
            raise FileError(self.why_nothing(file))

    def custom_ids(
        self, file: AnswerFile, at: Sequence[int], lines: Sequence[bytes]
    ) -> list[str | None]:
        """Whom lines name. Raises FileError where one is a request."""
        found: list[Envelope | None] = read_each(_envelope, lines, None)
        for number, envelope in zip(at, found, strict=True):
            if envelope is not None and envelope.response == NOTHING and envelope.is_request:
                raise FileError(
                    f"'{file.name}' holds requests, not answers (line {number:,} has a body, and "
                    "no response). Bring the file that was made of it: a batch's output or error "
                    "file."
                )
        return [
            odd_id(line) if envelope is None else envelope.custom_id
            for line, envelope in zip(lines, found, strict=True)
        ]

    def owners(self, custom_ids: Sequence[str | None]) -> list[Place | None]:
        """The job and part of the request that each names; None where there is none."""
        owners: list[Place | None] = []
        asked: dict[int, dict[int, list[int]]] = {}
        job, prefix, whole = None, "", None
        for custom_id in custom_ids:
            request_id = own_id(prefix, custom_id) if job else None
            if request_id is None:
                uid, _, _ = (custom_id or "").rpartition("-")
                named = self.jobs.get(uid)
                if named is not None:
                    job, prefix, whole = named, f"{uid}-", self.whole_parts(named)
                    request_id = own_id(prefix, custom_id)
            if job is None or whole is None or request_id is None:
                owners.append(None)
                continue
            place = whole.of(request_id)
            if place is None:
                places = asked.setdefault(job.id, {}).setdefault(request_id, [])
                places.append(len(owners))
            owners.append(place)
        for job_id, by_id in asked.items():
            known = outcomes.asked(self.conn, job_id, sorted(by_id))
            for request_id, places in by_id.items():
                part_id = known[request_id][1] if request_id in known else None
                for n in places:
                    owners[n] = None if part_id is None else (job_id, part_id)
        return owners

    def whole_parts(self, job: store.Job) -> WholeParts:
        """The parts of a job that hold all requests between their first and their last."""
        if job.id not in self.whole:
            self.whole[job.id] = WholeParts(job.id, outcomes.whole_parts(self.conn, job.id))
        return self.whole[job.id]

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


def odd_id(line: bytes) -> str | None:
    """Whom a line names that is none of the usual ones."""
    read = read_line(line, Body)
    return read[0].custom_id if read else None


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
