"""What the servers of MySQL's protocol share."""

from __future__ import annotations

import socket
from typing import Final

DATABASE: Final = "plusone"
"""A database that is there from the start. Who connects is root, without a password."""
_GREETING_VERSION: Final = 10


def greets(port: int) -> bool:
    """Whether a server of this protocol takes connections there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            greeting = connection.recv(5)
    except OSError:
        return False
    return len(greeting) == 5 and greeting[4] == _GREETING_VERSION
