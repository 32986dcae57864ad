"""Which server and which key: `destination`, and the servers that a command opens."""

from __future__ import annotations

import socket
from contextlib import closing

from sqlite_utils_openai_batch.local.server import listen


def test_the_local_server_sends_small_packets_at_once() -> None:
    with closing(listen("127.0.0.1", 0)) as listener:
        # asyncio sets TCP_NODELAY on what this socket accepts only where the protocol is named.
        assert listener.proto == socket.IPPROTO_TCP
