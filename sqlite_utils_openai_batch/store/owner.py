"""Who holds leases: this process, told apart from every other, and known to be dead or not."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
from pathlib import Path


def machine() -> str:
    """What processes must share to see each other's ids: host, boot, and process namespace."""
    facts = [platform.node()]
    try:
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        # Only Linux has these; elsewhere the host's name must do.
        pass
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


MACHINE = machine()
SECRET = secrets.token_hex(4)


def me() -> str:
    """This process as a lease owner; another one after a fork."""
    return f"{MACHINE}-{os.getpid()}-{SECRET}"


def is_dead(owner: str | None) -> bool:
    """Whether a lease's owner surely runs no more: a process of this machine that is gone.

    Whoever can't be judged from here counts as alive, until the lease runs out.
    """
    pieces = (owner or "").split("-")
    if len(pieces) != 3 or pieces[0] != MACHINE or not pieces[1].isdecimal():
        return False
    if os.name != "posix":
        # On Windows os.kill would end the process instead of asking.
        return False
    try:
        os.kill(int(pieces[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
