"""Processes as the lab starts them, the small disks that they are on, and the relays before them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from plusone.errors import ConfigurationError
from plusone.lab import processes
from plusone.lab.disks import no_small_disk
from plusone.lab.processes import ServerProcess, Together, all_of, choose_ports, free_port, until
from plusone.lab.programs import ServerFailed, run
from plusone.lab.relays import Relay, anybody, nobody

_SERVER: Final = """\
import socketserver, sys
port, name = int(sys.argv[1]), sys.argv[2]
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(name.encode() + b": " + line)
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True
print("this is", name, flush=True)
with Server(("127.0.0.1", port), Echo) as server:
    server.serve_forever()
"""


def server(name: str = "echo", script: str = _SERVER) -> ServerProcess:
    """One that says its name and what it was sent."""

    def command(port: int, folder: Path) -> Sequence[str]:
        return (sys.executable, "-c", script, str(port), name)

    return ServerProcess(name, command, lambda port: ask(port) == f"{name}: hello\n")


def ask(port: int, seconds: float = 2) -> str | None:
    """What it answers; None if it does not."""
    try:
        with closing(connected(port, seconds)) as connection:
            connection.sendall(b"hello\n")
            return connection.recv(100).decode() or None
    except OSError:
        return None


def connected(port: int, seconds: float = 2) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=seconds)


def test_a_server_lives_within_its_with_and_leaves_nothing() -> None:
    with server() as echo:
        assert ask(echo.port) == "echo: hello\n"
        assert echo.log() == "this is echo\n"
        folder, pid = echo.folder, echo.pid
        assert folder.is_dir()
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert not echo.runs


def test_a_server_that_is_killed_comes_back_at_the_same_address_and_folder() -> None:
    with server() as echo:
        (echo.folder / "kept").touch()
        first = echo.pid
        echo.kill()
        assert not echo.runs
        assert ask(echo.port) is None
        echo.restart()
        assert ask(echo.port) == "echo: hello\n"
        assert echo.pid != first
        assert (echo.folder / "kept").exists()


def test_a_server_that_stands_still_takes_connections_and_answers_nothing() -> None:
    with server() as echo:
        with echo.paused(), closing(connected(echo.port, 0.3)) as connection:
            connection.sendall(b"hello\n")
            with pytest.raises(TimeoutError):
                connection.recv(100)
        assert ask(echo.port) == "echo: hello\n"


def test_all_of_it_stands_still_when_the_pause_begins_however_busy_the_machine_is() -> None:
    spins = "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin, daemon=True).start()\n"
    with all_of([server(f"busy-{number}", spins + _SERVER) for number in range(4)]) as servers:
        for each in [*servers] * 5:
            with each.paused():
                threads = Path(f"/proc/{each.pid}/task").iterdir()
                states = {(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads}
                assert states == {"T"}


def test_one_that_stands_still_when_the_with_ends_is_ended_too() -> None:
    with server() as echo:
        echo.pause()
        pid = echo.pid
    assert not Path(f"/proc/{pid}").exists()


def test_a_server_that_does_not_start_says_why() -> None:
    broken = server("broken", "print('no such setting: tuning'); raise SystemExit(3)")
    with pytest.raises(
        ServerFailed, match=r"^broken ended with status 3 instead of serving; its log ends with:\nno such"
    ):
        broken.__enter__()
    assert not broken.folder.exists()


def test_a_server_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STARTS_WITHIN_SECONDS", 0.5)
    slow = server("slow", "print('loading', flush=True); import threading; threading.Event().wait()")
    with pytest.raises(ServerFailed, match=r"^slow was not ready within 0 s|^slow was not ready within 1 s"):
        slow.__enter__()
    assert not slow.runs


def test_revive_starts_what_has_ended_and_leaves_what_runs() -> None:
    with server() as echo:
        first = echo.pid
        echo.revive()
        assert echo.pid == first
        echo.kill()
        echo.revive()
        assert ask(echo.port) == "echo: hello\n"


def test_servers_together() -> None:
    with all_of([server("one"), server("two")]) as servers:
        together = Together(servers)
        together.kill()
        assert [ask(each.port) for each in servers] == [None, None]
        together.start()
        assert [ask(each.port) for each in servers] == ["one: hello\n", "two: hello\n"]
    assert [each.folder.exists() for each in servers] == [False, False]


def test_if_one_of_several_does_not_start_none_is_left() -> None:
    good, broken = server("good"), server("broken", "raise SystemExit(1)")
    with pytest.raises(ServerFailed, match=r"^broken ended with status 1"), all_of([good, broken]):
        pass
    assert (good.runs, good.folder.exists(), broken.folder.exists()) == (False, False, False)


def test_a_log_that_is_long_is_shown_from_its_end() -> None:
    broken = server("broken", "print('x' * 100_000); print('the end'); raise SystemExit(1)")
    with pytest.raises(ServerFailed) as caught:
        broken.__enter__()
    assert str(caught.value).endswith("x\nthe end")
    assert len(str(caught.value)) < 5_000


def test_ports_are_given_once_and_by_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_share", None)
    choose_ports(3)
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    assert {(port - 10_000) % 16 for port in ports} == {3}


def test_waiting_in_vain_says_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STARTS_WITHIN_SECONDS", 0.05)
    with pytest.raises(ServerFailed, match="in vain for the moon"):
        until(lambda: False, "the moon")


def test_programs_run_to_their_end() -> None:
    assert run([sys.executable, "-c", "print('done')"]) == "done\n"
    with pytest.raises(ServerFailed, match=r"ended with status 2; it printed at the end:\nbad$"):
        run([sys.executable, "-c", "print('bad'); raise SystemExit(2)"])
    with pytest.raises(ServerFailed, match="took more than 0 s"):
        run([sys.executable, "-c", "import threading; threading.Event().wait()"], seconds=0.2)


@contextmanager
def two_and_a_relay() -> Iterator[tuple[ServerProcess, ServerProcess, Relay]]:
    with all_of([server("one"), server("two")]) as (one, two), Relay(one.port) as relay:
        yield one, two, relay


def test_a_relay_leads_where_it_is_told_to() -> None:
    with two_and_a_relay() as (_, two, relay):
        assert ask(relay.port) == "one: hello\n"
        with closing(connected(relay.port)) as open_before:
            open_before.sendall(b"hello\n")
            assert open_before.recv(100) == b"one: hello\n"
            relay.lead_to(two.port)
            assert was_cut(open_before)
        assert ask(relay.port) == "two: hello\n"


def test_a_relay_cuts_whom_it_does_not_admit() -> None:
    with (
        two_and_a_relay() as (_, _, relay),
        closing(connected(relay.port)) as bad,
        closing(connected(relay.port)) as good,
    ):
        for connection, word in ((bad, b"bad\n"), (good, b"good\n")):
            connection.sendall(word)
            assert connection.recv(100) == b"one: " + word
        relay.admit(lambda first: first != b"bad\n")
        assert was_cut(bad)
        good.sendall(b"hello\n")
        assert good.recv(100) == b"one: hello\n"
        relay.admit(nobody)
        assert was_cut(good)
        assert ask(relay.port) is None
        relay.admit(anybody)
        assert ask(relay.port) == "one: hello\n"


def test_a_relay_that_leads_nowhere_hangs_up() -> None:
    with Relay(free_port()) as relay:
        assert ask(relay.port) is None


def was_cut(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def on_small_disk() -> AbstractContextManager[ServerProcess]:
    if reason := no_small_disk():
        pytest.skip(reason)
    keeper = server("keeper")
    (keeper.folder / "before").write_text("here")
    keeper.wants_small_disk = True
    return keeper


def test_a_small_disk_has_what_the_folder_had_and_can_be_filled() -> None:
    with on_small_disk() as keeper:
        disk = keeper.disk
        assert disk is not None
        assert run(disk.command(["cat", "before"])) == "here"
        disk.fill()
        with pytest.raises(ServerFailed, match="No space left on device"):
            run(disk.command(["cp", "before", "more"]))
        disk.free()
        run(disk.command(["cp", "before", "more"]))
        keeper.restart()
        assert run(disk.command(["cat", "more"])) == "here"
        assert sorted(path.name for path in keeper.folder.iterdir()) == ["before", "log"]


def test_a_small_disk_is_gone_with_the_server() -> None:
    with on_small_disk() as keeper:
        assert keeper.disk is not None
        holder = keeper.disk.command(["true"])[2]
        assert Path(f"/proc/{holder}").exists()
    assert not Path(f"/proc/{holder}").exists()
    assert str(keeper.folder) not in Path("/proc/mounts").read_text()


def test_where_there_is_no_unshare_there_is_no_small_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = no_small_disk()
    assert reason is not None
    assert reason.startswith("filling a disk takes Linux, util-linux and a user who may have namespaces; ")


def test_a_server_on_a_small_disk_that_cannot_be_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plusone.lab.disks._HOLD", "echo mount: permission denied; exit 1")
    keeper = server("keeper")
    keeper.wants_small_disk = True
    with pytest.raises(ConfigurationError, match=r"^disk_full is not possible here: mount: permission denied$"):
        keeper.__enter__()
    assert not keeper.folder.exists()
