"""How a node's sockets are set: what a listener is told, accepted ones have too."""

from __future__ import annotations

import socket

import pytest

from agent_core.mesh.compat import resend_soon

#: ``TCP_RTO_MAX_MS`` of ``linux/tcp.h``.
RTO_MAX_MS = 44


def longest_wait_ms(sock: socket.socket) -> int | None:
    """The longest wait between two retransmissions, where the system says it."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, RTO_MAX_MS)
    except OSError:
        return None


def test_a_line_that_was_dead_is_tried_again_at_least_once_a_second() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = longest_wait_ms(listener)
        resend_soon(listener)
        with socket.create_connection(listener.getsockname()) as dialled:
            resend_soon(dialled)
            accepted, _ = listener.accept()
            with accepted:
                if before is None:
                    pytest.skip("this kernel is older than Linux 6.15 and doesn't take it")
                assert before > 1000
                assert longest_wait_ms(accepted) == longest_wait_ms(dialled) == 1000
