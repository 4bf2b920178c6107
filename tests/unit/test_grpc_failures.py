"""What gRPC says of connections that did not come about, each with what to do about it."""

from __future__ import annotations

import pytest

from plusone.stores.grpc_failures import advice

FAILED = "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:1: "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FAILED + "Handshake read failed (Socket closed)", "the server may not speak TLS; then say tls=no"),
        (FAILED + "SSL_ERROR_SSL: WRONG_VERSION_NUMBER: OK", "the server does not speak TLS; say tls=no"),
        (FAILED + "Socket closed", "the server hung up; if it speaks TLS, say tls=yes"),
        (FAILED + "Failed to connect to remote host: Connection refused", "see that the server runs, and the host"),
        (FAILED + "connect: Network is unreachable", "see that the server can be reached from here, and the host"),
        ("errors resolving h:1: [Domain name not found]", "no such host; see the host"),
        ("DNS resolution failed for h:1: C-ares status is not ARES_SUCCESS", "no such host; see the host"),
        ("Deadline Exceeded", "the server did not answer in time"),
        ("Socket closed", ""),
        ("recvmsg:Connection reset by peer", ""),
    ],
)
def test_what_to_do_about_it(text: str, expected: str) -> None:
    """Nothing is said of a connection that broke: whoever asks again makes another."""
    assert advice(text, "the host").startswith(expected)
    assert bool(advice(text, "the host")) == bool(expected)
