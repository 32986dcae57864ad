"""CSV of a plain table's rows in one loop: what a million rows are mostly made of.

The same lines as `csvtext.line` makes of `Reader.joined`'s rows, without the tuples and calls
between them, which would take as long as all the rest.
"""

from __future__ import annotations

import base64

from . import csvtext
from .reader import Reader

# The last two cells of a row that was answered: its status, and no error.
OK = csvtext.line(("ok", None))


def suits(reader: Reader) -> bool:
    """Whether the loop below can make this reader's lines: one walk, and no BLOBs to link."""
    return reader.sql is not None and not reader.blobs


def lines(reader: Reader, most: int) -> list[str]:
    """The next lines with their breaks, about `most` characters of them."""
    assert reader.sql is not None
    found: list[str] = []
    size = 0
    last = reader.last
    answers, nothing = reader.answers, reader.answers("", None)
    cursor = reader.conn.execute(reader.sql, reader.params)
    try:
        for row in cursor:
            status = row[2]
            cells = row[6:] if row[5] is not None else reader.results.only_key(row[1])
            cells += answers(status, row[3]) if status == "ok" else nothing
            written = []
            for cell in cells:
                if cell.__class__ is str:
                    if '"' in cell:
                        cell = '"' + cell.replace('"', '""') + '"'
                    elif "," in cell or "\n" in cell or "\r" in cell or not cell:
                        cell = f'"{cell}"'
                    written.append(cell)
                elif cell is None:
                    written.append("")
                elif cell.__class__ is bytes:
                    written.append(base64.b64encode(cell).decode())
                else:
                    written.append(repr(cell))
            end = OK if status == "ok" and row[4] is None else csvtext.line((status, row[4]))
            written.append(end)
            line = ",".join(written)
            found.append(line)
            size += len(line)
            if size >= most:
                last = row[0]
                break
    finally:
        cursor.close()
    reader.after = last
    return found
