"""Conditions that a proxy puts in force: what passes meanwhile, what does not, and what counting makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from plusone.errors import ConfigurationError
from plusone.lab.faults import CONDITIONS, Condition, Event, Faults
from plusone.lab.links import Line
from plusone.lab.proxy import Proxy
from tests.lab.echo import Client, Echo, echo


class Watch:
    """Lets a test wait until a proxy has counted something."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Event, int, asyncio.Event]] = []
        self.line = Line(Faults())

    def made(self, faults: Faults) -> Line:
        self.line = Line(faults, self._hear)
        return self.line

    async def until(self, event: Event, number: int = 1) -> None:
        happened = asyncio.Event()
        self._waiting.append((event, number, happened))
        self._hear(event)
        await happened.wait()

    def _hear(self, event: Event) -> None:
        for awaited, number, happened in self._waiting:
            if self.line.counts[awaited] >= number:
                happened.set()


Body = Callable[[Echo, Proxy, Watch], Awaitable[None]]


def run(body: Body, faults: Faults | None = None) -> dict[Event, int]:
    """The proxy's counts after `body`."""

    async def main() -> dict[Event, int]:
        watch = Watch()
        async with echo() as server, Proxy(server.url, line=watch.made(faults or Faults())) as proxy:
            await body(server, proxy, watch)
        return dict(proxy.counts)

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_what_a_client_sends_into_a_partition_vanishes_for_ever() -> None:
    """The connection has a hole, and so leads nowhere even when the partition is over; a new one does."""

    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        client, other = Client(proxy.port), Client(proxy.port)
        assert await client.ask(b"1\n") == b"1\n"
        proxy.begin("partition_to_server")
        await client.send(b"2\n")
        await watch.until("partition_to_server")
        proxy.end("partition_to_server")
        await client.send(b"3\n")
        assert await other.ask(b"4\n") == b"4\n"
        assert server.lines == [b"1\n", b"4\n"]
        await client.leave()
        await other.leave()

    assert run(body) == {"connections": 2, "requests": 2, "partition_to_server": 1}


def test_what_the_server_says_into_a_partition_vanishes_and_was_done() -> None:
    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        client, other = Client(proxy.port), Client(proxy.port)
        assert await client.ask(b"1\n") == b"1\n"
        proxy.begin("partition_to_client")
        await client.send(b"2\n")
        await watch.until("partition_to_client")
        assert server.lines == [b"1\n", b"2\n"]
        proxy.end("partition_to_client")
        assert await other.ask(b"3\n") == b"3\n"
        await client.leave()
        await other.leave()

    assert run(body) == {"connections": 2, "requests": 3, "partition_to_client": 1}


@pytest.mark.parametrize("condition", ["partition_to_server", "partition_to_client"])
def test_a_connection_that_is_made_during_a_partition_leads_nowhere(condition: Condition) -> None:
    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        proxy.begin(condition)
        client, other = Client(proxy.port), Client(proxy.port)
        await client.send(b"1\n")
        await watch.until(condition)
        proxy.end(condition)
        await client.send(b"2\n")
        assert await other.ask(b"3\n") == b"3\n"
        assert (server.lines, server.connections) == ([b"3\n"], 1)
        await client.leave()
        await other.leave()

    assert run(body) == {"connections": 2, "requests": 1, condition: 1}


def test_a_partition_hides_that_the_client_has_gone() -> None:
    """What it held on the server stays held until the partition is over."""

    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        client, direct = Client(proxy.port), Client(int(server.url.rpartition(":")[2]))
        assert await client.ask(b"1\n") == b"1\n"
        proxy.begin("partition_to_server")
        await client.leave()
        for _ in range(10):
            assert await direct.ask(b"2\n") == b"2\n"
        assert server.ended == 0
        proxy.end("partition_to_server")
        await server.has_ended(1)
        await direct.leave()

    assert run(body) == {"connections": 1, "requests": 1}


def test_throttled_bytes_take_their_time_in_each_direction() -> None:
    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        loop = asyncio.get_running_loop()
        client = Client(proxy.port)
        assert await client.ask(b"1\n") == b"1\n"
        proxy.begin("throttle")
        before = loop.time()
        line = b"x" * 999 + b"\n"
        assert await client.ask(line) == line
        # Five slices of 200 bytes there and five back, the first of which waits for nothing.
        assert loop.time() - before >= 0.155
        await client.leave()

    counts = run(body, Faults(throttle_bytes_per_second=10_000))
    assert counts == {"connections": 1, "requests": 2, "throttle": 1}


def test_what_is_throttled_arrives_whole_when_the_throttle_ends() -> None:
    """A megabyte at a byte per second would take eleven days."""

    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        client = Client(proxy.port)
        assert await client.ask(b"1\n") == b"1\n"
        proxy.begin("throttle")
        lines = [b"%d" % number * 9_999 + b"\n" for number in range(1, 8)]
        for line in lines:
            await client.send(line)
        await watch.until("throttle")
        proxy.end("throttle")
        assert [await client.answer() for _ in lines] == lines
        await client.leave()

    assert run(body, Faults(throttle_bytes_per_second=1))["throttle"] == 1


async def read_from(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    finally:
        writer.close()


def test_a_refused_connection_is_reset_and_an_old_one_goes_on() -> None:
    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        old = Client(proxy.port)
        assert await old.ask(b"1\n") == b"1\n"
        proxy.begin("refuse")
        with pytest.raises(ConnectionResetError):
            await read_from(proxy.port)
        assert await old.ask(b"2\n") == b"2\n"
        proxy.end("refuse")
        new = Client(proxy.port)
        assert await new.ask(b"3\n") == b"3\n"
        await old.leave()
        await new.leave()

    assert run(body) == {"connections": 3, "requests": 3, "refuse": 1}


def test_a_slow_close_of_the_client_is_passed_on_in_the_end() -> None:
    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        client, other = Client(proxy.port), Client(proxy.port)
        assert await client.ask(b"1\n") == b"1\n"
        proxy.begin("slow_close")
        await client.leave()
        await watch.until("slow_close")
        assert await other.ask(b"2\n") == b"2\n"
        assert server.ended == 0
        proxy.end("slow_close")
        await server.has_ended(1)
        await other.leave()

    assert run(body) == {"connections": 2, "requests": 2, "slow_close": 1}


def test_a_slow_close_of_the_server_is_passed_on_in_the_end() -> None:
    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        client = Client(proxy.port)
        proxy.begin("slow_close")
        assert await client.ask(b"bye\n") == b"bye\n"
        await watch.until("slow_close")
        more = asyncio.ensure_future(client.answer())
        other = Client(proxy.port)
        assert await other.ask(b"2\n") == b"2\n"
        assert not more.done()
        proxy.end("slow_close")
        assert await more == b""
        await other.leave()
        await client.leave()

    assert run(body) == {"connections": 2, "requests": 2, "slow_close": 1}


def test_a_duplicate_reaches_the_server_and_its_answer_nobody() -> None:
    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        before = Client(proxy.port)
        assert await before.ask(b"0\n") == b"0\n"
        proxy.begin("duplicate")
        client = Client(proxy.port)
        for number in range(1, 4):
            assert await client.ask(b"%d\n" % number) == b"%d\n" % number
            await watch.until("duplicate", number)
        assert await before.ask(b"4\n") == b"4\n"
        assert server.lines == [b"0\n", b"1\n", b"1\n", b"2\n", b"2\n", b"3\n", b"3\n", b"4\n"]
        assert server.connections == 3
        await client.leave()
        await before.leave()
        await server.has_ended(3)

    assert run(body) == {"connections": 2, "requests": 5, "duplicate": 3}


def test_a_duplicate_outlives_its_client() -> None:
    """It is on its way, whoever waits for the other answer."""

    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        proxy.begin("duplicate")
        client = Client(proxy.port)
        await client.send(b"1\n")
        await client.leave()
        await watch.until("duplicate")
        assert server.lines == [b"1\n", b"1\n"]
        await server.has_ended(2)

    counts = run(body)
    assert (counts["duplicate"], counts["requests"]) == (1, 1)


@pytest.mark.parametrize("condition", [condition for condition in CONDITIONS if condition != "refuse"])
def test_leaving_ends_what_a_condition_keeps_open(condition: Condition) -> None:
    async def main() -> None:
        watch = Watch()
        line = watch.made(Faults(throttle_bytes_per_second=1))
        async with echo() as server:
            async with Proxy(server.url, line=line) as proxy:
                old, silent, new = Client(proxy.port), Client(proxy.port), Client(proxy.port)
                for each in (old, silent):
                    assert await each.ask(b"1\n") == b"1\n"
                proxy.begin(condition)
                await old.send(b"2\n" * 100)
                await new.send(b"3\n")
                await silent.leave()
                await watch.until(condition)
            while await old.answer():
                pass  # what had come already
            assert not line.links
            await old.leave()
            await new.leave()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_conditions_may_be_in_force_together_and_end_in_any_order() -> None:
    async def body(server: Echo, proxy: Proxy, watch: Watch) -> None:
        client = Client(proxy.port)
        assert await client.ask(b"1\n") == b"1\n"
        proxy.begin("slow_close")
        proxy.begin("partition_to_server")
        await client.leave()
        await watch.until("slow_close")
        proxy.end("slow_close")
        direct = Client(int(server.url.rpartition(":")[2]))
        assert await direct.ask(b"2\n") == b"2\n"
        assert server.ended == 0
        proxy.end("partition_to_server")
        await server.has_ended(1)
        proxy.end("throttle")
        await direct.leave()

    assert run(body) == {"connections": 1, "requests": 1, "slow_close": 1}


def test_proxies_of_one_line_have_their_conditions_and_counts_in_common() -> None:
    async def main() -> dict[Event, int]:
        watch = Watch()
        line = watch.made(Faults(schedule={3: "cut_after_request"}))
        async with (
            echo() as here,
            echo() as there,
            Proxy(here.url, line=line) as near,
            Proxy(there.url, line=line) as far,
        ):
            one, two = Client(near.port), Client(far.port)
            assert [await client.ask(b"1\n") for client in (one, two, one)] == [b"1\n", b"1\n", b""]
            near.begin("partition_to_server")
            await two.send(b"2\n")
            await watch.until("partition_to_server")
            assert (here.lines, there.lines) == ([b"1\n", b"1\n"], [b"1\n"])
            await one.leave()
            await two.leave()
        return dict(line.counts)

    expected = {"connections": 2, "requests": 3, "cut_after_request": 1, "partition_to_server": 1}
    assert asyncio.run(asyncio.wait_for(main(), 20)) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"rates": {"partition_to_server": 0.1}},
        {"schedule": {1: "refuse"}},
        {"delay_ms": -1},
        {"throttle_bytes_per_second": 0},
        {"throttle_bytes_per_second": 10**10},
    ],
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Faults(**wrong)


def test_a_condition_has_one_of_the_known_names() -> None:
    with pytest.raises(ConfigurationError, match="partition_to_server"):
        Proxy("tcp://127.0.0.1:1").begin("delay")  # type: ignore[arg-type]
