"""What to do about a connection by gRPC that did not come about. It has one status for all of them, and texts."""

from __future__ import annotations

from typing import Final

_CONNECTING: Final = ("failed to connect", "errors resolving", "DNS resolution failed", "Deadline Exceeded")
"""How gRPC begins where there is no connection, or no answer yet; of one that breaks later it says other things."""

_CAUSES: Final = (
    ("Handshake read failed", "the server may not speak TLS; then say tls=no in the store URL"),
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS; say tls=no in the store URL, or see {place}"),
    ("Socket closed", "the server hung up; if it speaks TLS, say tls=yes in the store URL, with what else it asks for"),
    ("Connection refused", "see that the server runs, and {place}"),
    ("resolving", "no such host; see {place}"),
    ("DNS resolution failed", "no such host; see {place}"),
    ("Deadline Exceeded", "the server did not answer in time; see that it runs, and {place}"),
)


def advice(text: str, place: str) -> str:
    """For an error's text; empty for what is none of connecting. `place` says where the host and port come from."""
    if not text.startswith(_CONNECTING):
        return ""
    found = (advice for sign, advice in _CAUSES if sign in text)
    return next(found, "see that the server can be reached from here, and {place}").format(place=place)
