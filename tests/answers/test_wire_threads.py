"""Response lines read in several threads at once, as Datasette and servers read them."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: what goes wrong here ends Python itself.
SCRIPT = """
import sys, threading
from sqlite_utils_openai_batch.answers import wire

sys.setswitchinterval(1e-6)
kinds = 2 * [wire.Completion, wire.Response, wire.Embeddings, wire.Moderations]
line = b'{"custom_id": "a", "response": {"status_code": 200, "body": {"model": "m"}}}'
read, together = [], threading.Barrier(len(kinds))

def first(kind):
    together.wait()
    read.append(wire.read_line(line, kind)[1].model)

threads = [threading.Thread(target=first, args=(kind,)) for kind in kinds]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert read == ["m"] * len(kinds)
"""


def test_the_first_lines_may_come_in_several_threads() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
