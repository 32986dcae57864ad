"""Makes docs/pictures/terminal.svg: a terminal in which a job runs, line after line.

    python docs/recording.py

The commands are really run, as `docs/console.py` runs those of a page, against a server on this
machine that makes answers up. Who wants no motion sees all lines at once.
"""

from __future__ import annotations

import html
from pathlib import Path

from console import typed_along

PICTURE = Path(__file__).parent / "pictures" / "terminal.svg"
SESSION = """```console
$ sqlite-utils openai-batch demo --rows 0
$ sqlite-utils openai-batch serve --simulate --port 18900 > server.log 2>&1 &
$ export OPENAI_BASE_URL=http://127.0.0.1:18900/v1 OPENAI_API_KEY=any
$ sqlite-utils openai-batch run demo.db reviews --limit 100 \\
    --prompt '{{ body }}' --schema 'mood good|bad|mixed, stars 1..5 int' -y
$ sqlite-utils openai-batch jobs demo.db
$ sqlite-utils openai-batch results demo.db -c product -c mood -c stars -t | head -n 6
```
"""
# What the recording shows begins here: before it is how the server came to be.
FIRST = "$ sqlite-utils openai-batch run"
WIDTH, LINE, LETTER, EDGE = 860, 19, 13, 18
STYLE = """
  rect { fill: #16181d }
  text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d7dae0;
         white-space: pre; opacity: 0; animation: come 0.05s forwards }
  .typed { fill: #9ece6a }
  @keyframes come { to { opacity: 1 } }
  @media (prefers-reduced-motion: reduce) { text { animation-delay: 0s !important } }
"""


def main() -> None:
    """Run the session and draw it."""
    said = typed_along(SESSION)
    lines = said[said.index(FIRST) :].removesuffix("```\n").splitlines()
    drawn, after, typing = [], 0.3, False
    for number, line in enumerate(lines):
        typing = line.startswith("$ ") or (typing and lines[number - 1].endswith("\\"))
        after += 0.9 if line.startswith("$ ") else 0.12
        kind = ' class="typed"' if typing else ""
        y = EDGE + LETTER + number * LINE
        drawn.append(
            f'<text x="{EDGE}" y="{y}"{kind} style="animation-delay:{after:.2f}s">'
            f"{html.escape(line, quote=False)}</text>"
        )
    height = 2 * EDGE + len(lines) * LINE
    PICTURE.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        "<title>A job in a terminal: run, jobs, results</title>\n"
        f"<style>{STYLE}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" rx="8"/>\n' + "\n".join(drawn) + "\n</svg>\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
