"""The small model's weights, fetched with progress."""

from __future__ import annotations

from .click_ext import talk


def fetch_weights() -> None:
    """Have the small model's weights, with progress where they must be fetched first."""
    from ..local import ensure_weights, weights_path

    progress = Progress()
    if not weights_path().exists():
        progress.told(0, None)
    ensure_weights(progress.told)


class Progress:
    """Says how much of a download is here, at each tenth."""

    def __init__(self) -> None:
        self.said = -1

    def told(self, done: int, total: int | None) -> None:
        """Hear of more bytes."""
        if self.said < 0:
            talk("Fetching the small model's weights (98 MB, kept for next time) …")
            self.said = 0
        if not total:
            return
        tenth = min(done * 10 // total, 10)
        if tenth > self.said:
            self.said = tenth
            talk(f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB")
