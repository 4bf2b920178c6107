"""A small disk for a server, which can be filled: a file system in memory that only the server's own processes see.

The kernel itself refuses what does not fit (ENOSPC), as it does on a real disk; nothing is simulated. It is mounted in
a mount namespace that a process of the lab holds open, so that it outlives a crash of the server and is gone without a
trace behind the run, and in a user namespace, which is why it takes no root: `unshare` and `nsenter` of util-linux, on
a Linux that lets users have namespaces (https://man7.org/linux/man-pages/man7/user_namespaces.7.html). Nothing on it
survives a loss of power, so that durability against that, and its price in speed, are not to be seen on it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from plusone.errors import ConfigurationError, PlusoneError
from plusone.lab.programs import run

_FREE_MB: Final = 64
_ENDS_WITHIN_SECONDS: Final = 10
# The working folder is what lay under the mount, and so can still be copied from behind it. What holds the namespace
# ends with its input, which is ours: if the lab is killed, nothing is left.
_HOLD: Final = """\
set -e
cd "$0"
mount -t tmpfs -o size="$1",mode=0700 tmpfs "$0"
cp -a . "$0"
echo mounted
exec cat >/dev/null
"""


def no_small_disk() -> str | None:
    """Why there can be none on this machine; None if there can."""
    try:
        run(["unshare", *_unshared(None), "mount", "-t", "tmpfs", "tmpfs", "/mnt"])
    except (PlusoneError, OSError) as error:
        return f"filling a disk takes Linux, util-linux and a user who may have namespaces; {error}"
    return None


class SmallDisk:
    """Shows whatever runs there, at the place of `folder`, what that holds, and 64 MiB of free space."""

    def __init__(self, folder: Path, user: str | None = None) -> None:
        """`user` is who owns the folder, if not we. Raises `ConfigurationError` where there can be no small disk."""
        self._folder, self._user = folder, user
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) // 2**20 + _FREE_MB
        self._holder = subprocess.Popen(  # noqa: S603  # the command is the lab's own
            ["unshare", *_unshared(user), "sh", "-c", _HOLD, str(folder), f"{size}m"],  # noqa: S607
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            user=user,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline()
        if said != b"mounted\n":
            self.close()
            raise ConfigurationError(f"disk_full is not possible here: {said.decode(errors='replace').strip()}")

    def command(self, command: Sequence[str]) -> Sequence[str]:
        """The command, run where the small disk is seen, in its folder; its process is that of the command."""
        enter = ("nsenter", "--target", str(self._holder.pid), "--mount")
        as_user = () if _is_plain(self._user) else ("--user", "--preserve-credentials")
        return (*enter, *as_user, "sh", "-c", 'cd "$0" && exec "$@"', str(self._folder), *command)

    def fill(self) -> None:
        """Leave no space on it."""
        self._run("cat /dev/zero >ballast 2>/dev/null || true")

    def free(self) -> None:
        """Give the space back."""
        self._run("rm -f ballast")

    def close(self) -> None:
        """Let go of it. It is gone once no server runs on it either."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(_ENDS_WITHIN_SECONDS)

    def _run(self, script: str) -> None:
        run(self.command(("sh", "-c", script)), user=self._user)


def _is_plain(user: str | None) -> bool:
    """Whether it takes no user namespace: we are root, and so is the server."""
    return os.geteuid() == 0 and user is None


def _unshared(user: str | None) -> Sequence[str]:
    return ("--mount",) if _is_plain(user) else ("--mount", "--map-current-user", "--keep-caps")
