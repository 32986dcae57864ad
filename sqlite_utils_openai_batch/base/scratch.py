"""Folders for what lasts no longer than a command: rows on their way out, answers on their way in.

They hold people's texts, so they don't outlive their process. Beside each lies a file that its
process holds locked: the operating system gives the lock back when the process ends, however it
ends. So whoever comes next can tell what a dead process left from what a living one needs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

#: How folders of a command begin, and those of a local batch server that keeps nothing.
PREFIX, SERVER = "openai-batch-", "local-batch-"
LOCK = ".lock"


class Scratch:
    """A folder in the temporary folder, readable by its owner only; `close` removes it."""

    def __init__(self, prefix: str = PREFIX) -> None:
        root = Path(tempfile.gettempdir())
        while True:
            self.path = root / f"{prefix}{secrets.token_hex(8)}"
            lock = _hold(_lock_of(self.path))
            if lock is not None:
                break
        self._lock = lock
        try:
            self.path.mkdir(mode=0o700)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the folder, then what says that it is held."""
        shutil.rmtree(self.path, ignore_errors=True)
        place = _lock_of(self.path)
        if not self.path.exists():
            # Windows removes no file that is open: there it goes a moment later.
            with suppress(OSError):
                place.unlink()
        self._lock.close()
        if not self.path.exists():
            with suppress(OSError):
                place.unlink(missing_ok=True)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is removed at the end, or by the next command where this one is killed."""
    folder = Scratch()
    try:
        yield folder.path
    finally:
        folder.close()


def sweep() -> None:
    """Remove the folders of processes that are dead, and no others."""
    root = Path(tempfile.gettempdir())
    for prefix in (PREFIX, SERVER):
        for place in root.glob(f"{prefix}*{LOCK}"):
            # Somebody else's, or gone meanwhile: then it isn't for us.
            with suppress(OSError):
                _sweep_one(place)


def _sweep_one(place: Path) -> None:
    if not _is_own(place, stat.S_ISREG):
        return
    with place.open("r+b") as lock:
        if not try_lock(lock) or not _is_there(lock, place):
            return
        folder = place.with_suffix("")
        if folder.is_symlink() or (folder.exists() and not _is_own(folder, stat.S_ISDIR)):
            return
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            with suppress(OSError):
                place.unlink()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + LOCK)


def _hold(place: Path) -> BinaryIO | None:
    """Make a file and lock it; None where it was swept away at that moment."""
    lock = place.open("xb")
    if try_lock(lock) and _is_there(lock, place):
        return lock
    lock.close()
    return None


def _is_there(lock: BinaryIO, place: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), place.lstat())
    except FileNotFoundError:
        return False


def _is_own(place: Path, kind: Callable[[int], bool]) -> bool:
    """Whether this user made it, and it is what it should be: others may write there too."""
    found = place.lstat()
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return own and kind(found.st_mode)


if sys.platform == "win32":
    import msvcrt

    def try_lock(file: BinaryIO) -> bool:
        """Lock a file for this process until it closes it; False where another has it."""
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def try_lock(file: BinaryIO) -> bool:
        """Lock a file for this process until it closes it; False where another has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
