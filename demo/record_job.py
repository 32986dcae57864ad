"""Ask the small model about the films of the finished job, and keep what it says.

    python demo/record_job.py [FILE]

Writes `finished_job.jsonl`: a line for each film, the body of the request and that of the answer.
Needs the product with its extra `local`, and fetches the weights (98 MB) where they are missing.
Run it again only after the job's prompt, schema or films were changed, then build demo.db.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build import write_tables
from finished_job import RECORDED, make_job

from sqlite_utils_openai_batch.local import Answer, ModelAnswerer, NoAnswer


class Recorder(ModelAnswerer):
    """The small model, with a note of all that it is asked and answers."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: dict[str, dict[str, Any]] = {}

    async def answer(self, url: str, body: Mapping[str, Any], custom_id: str) -> Answer | NoAnswer:
        """Answer one request and note both."""
        answer = await super().answer(url, body, custom_id)
        if isinstance(answer, Answer) and answer.status_code == 200:
            self.noted[custom_id] = {"request": dict(body), "response": answer.body}
        return answer


def record(file: Path) -> None:
    """Write the answers to `file`, in the order of the films."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "record.db"
        write_tables(database)
        make_job(database, recorder)
    # A custom_id ends with the request's id, and these follow the rows.
    in_order = sorted(recorder.noted.items(), key=lambda item: int(item[0].rsplit("-", 1)[1]))
    lines = [json.dumps(line, ensure_ascii=False) + "\n" for _, line in in_order]
    file.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    record(Path(sys.argv[1]) if len(sys.argv) > 1 else RECORDED)
