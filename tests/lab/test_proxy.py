"""The fault proxy: what befalls each request, how often, and what its counts say of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from plusone.errors import ConfigurationError
from plusone.lab.faults import Event, Fault, Faults
from plusone.lab.proxy import Proxy
from tests.lab.echo import Client, Echo, echo


def run(faults: Faults, body: Callable[[Echo, Proxy, Client], Awaitable[None]]) -> dict[Event, int]:
    """The proxy's counts after `body`."""

    async def main() -> dict[Event, int]:
        async with echo() as server, Proxy(server.url, faults) as proxy:
            client = Client(proxy.port)
            await body(server, proxy, client)
            await client.leave()
        return dict(proxy.counts)

    return asyncio.run(asyncio.wait_for(main(), 20))


async def ask_ten(server: Echo, proxy: Proxy, client: Client) -> None:
    for number in range(1, 11):
        await client.ask(b"%d\n" % number)


def test_without_faults_everything_passes() -> None:
    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        for number in range(100):
            assert await client.ask(b"%d\n" % number) == b"%d\n" % number
        assert len(server.lines) == 100

    assert run(Faults(), body) == {"connections": 1, "requests": 100}


def test_a_cut_before_the_request_keeps_it_from_the_server() -> None:
    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        answers = [await client.ask(b"%d\n" % number) for number in range(1, 6)]
        assert answers == [b"1\n", b"", b"3\n", b"", b"5\n"]
        assert server.lines == [b"1\n", b"3\n", b"5\n"]

    faults = Faults(schedule={2: "cut_before_request", 4: "cut_before_request"})
    assert run(faults, body) == {"connections": 3, "requests": 5, "cut_before_request": 2}


def test_a_cut_after_the_request_loses_the_reply_only() -> None:
    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        answers = [await client.ask(b"%d\n" % number) for number in range(1, 6)]
        assert answers == [b"1\n", b"", b"3\n", b"4\n", b""]
        assert server.lines == [b"1\n", b"2\n", b"3\n", b"4\n", b"5\n"]

    faults = Faults(schedule={2: "cut_after_request", 5: "cut_after_request"})
    assert run(faults, body) == {"connections": 2, "requests": 5, "cut_after_request": 2}


def test_a_delayed_request_arrives_late_and_is_answered() -> None:
    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert await client.ask(b"1\n") == b"1\n"
        assert loop.time() - before >= 0.039  # the loop's timers may be a millisecond early
        assert await client.ask(b"2\n") == b"2\n"

    assert run(Faults(schedule={1: "delay"}, delay_ms=40), body) == {"connections": 1, "requests": 2, "delay": 1}


def test_a_delayed_request_outlives_its_client() -> None:
    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        await client.send(b"ghost\n")
        await client.leave()
        assert await client.ask(b"2\n") == b"2\n"
        while not proxy.counts["ghosts"]:
            assert await client.ask(b"3\n") == b"3\n"
        assert server.lines[0] == b"2\n"
        assert server.lines.count(b"ghost\n") == 1

    faults = Faults(schedule={1: "delay"}, delay_ms=60, matcher=lambda request: request == b"ghost\n")
    assert run(faults, body) == {"connections": 2, "requests": 1, "delay": 1, "ghosts": 1}


def test_what_is_sent_behind_a_delayed_request_waits_for_its_reply() -> None:
    """As a cancellation must, that would otherwise reach the datastore together with what it cancels."""

    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        other = Client(proxy.port)
        await client.send(b"1\n")
        while not proxy.counts["delay"]:
            assert await other.ask(b"0\n") == b"0\n"
        await other.leave()
        server.lines.clear()
        assert await client.ask(b"2\n") == b"1\n"
        assert server.lines == [b"1\n"]

    faults = Faults(schedule={1: "delay"}, delay_ms=40, matcher=lambda request: request == b"1\n")
    assert run(faults, body) == {"connections": 2, "requests": 1, "delay": 1}


def test_a_client_that_leaves_is_seen_to_leave() -> None:
    """A datastore that waits for the rest of a request, or would rather not reply to nobody, has to know."""

    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        await client.send(b"half a line")
        await client.leave()
        while not proxy.counts["ghosts"]:
            assert await client.ask(b"2\n") == b"2\n"
        assert server.lines.count(b"half a line") == 1

    faults = Faults(matcher=lambda request: request == b"half a line")
    assert run(faults, body) == {"connections": 2, "requests": 1, "ghosts": 1}


def test_a_half_open_connection_swallows_everything() -> None:
    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        for line in (b"1\n", b"2\n"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.03):
                    await client.ask(line)
        await client.leave()
        assert await client.ask(b"3\n") == b"3\n"
        assert server.lines == [b"3\n"]

    assert run(Faults(schedule={1: "half_open"}), body) == {"connections": 2, "requests": 2, "half_open": 1}


def test_only_what_matches_is_subject_to_faults() -> None:
    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        answers = [await client.ask(line) for line in (b"HELLO\n", b"ADD 1\n", b"HELLO\n", b"ADD 2\n")]
        assert answers == [b"HELLO\n", b"ADD 1\n", b"HELLO\n", b""]

    faults = Faults(schedule={2: "cut_after_request"}, matcher=lambda request: request.startswith(b"ADD"))
    assert run(faults, body) == {"connections": 1, "requests": 2, "cut_after_request": 1}


def test_a_request_of_many_reads_is_one_request() -> None:
    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        line = b"x" * 60_000 + b"\n"
        assert await client.ask(line) == line
        assert await client.ask(b"2\n") == b""

    faults = Faults(schedule={2: "cut_before_request"})
    assert run(faults, body) == {"connections": 1, "requests": 2, "cut_before_request": 1}


def test_megabytes_pass_in_both_directions() -> None:
    """Neither side is read faster than the other takes it, and nothing is lost."""

    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        line = b"y" * 1_023 + b"\n"

        async def send() -> None:
            for _ in range(8_192):
                writer.write(line)
                await writer.drain()

        sending = asyncio.ensure_future(send())
        assert await reader.readexactly(8 * 2**20) == line * 8_192
        await sending
        writer.close()

    assert run(Faults(), body)["connections"] == 1


def outcomes_by_rate(seed: int) -> tuple[dict[Event, int], list[bytes]]:
    answers: list[bytes] = []

    async def body(server: Echo, proxy: Proxy, client: Client) -> None:
        answers.extend([await client.ask(b"%d\n" % number) for number in range(400)])

    rates: Mapping[Fault, float] = {"cut_after_request": 0.05, "cut_before_request": 0.1}
    return run(Faults(rates=rates, seed=seed), body), answers


def test_rates_follow_the_seed() -> None:
    """The same seed, the same faults at the same requests; another seed, others."""
    counts, answers = outcomes_by_rate(7)
    assert counts == {"connections": 71, "requests": 400, "cut_after_request": 19, "cut_before_request": 52}
    assert answers.count(b"") == 71
    assert outcomes_by_rate(7) == (counts, answers)
    assert outcomes_by_rate(8)[1] != answers


def test_the_schedule_wins_over_the_rates() -> None:
    faults = Faults(schedule={3: "cut_after_request"}, rates={"cut_before_request": 0.0})
    assert run(faults, ask_ten) == {"connections": 2, "requests": 10, "cut_after_request": 1}


def test_an_unreachable_datastore_is_counted() -> None:
    async def main() -> dict[Event, int]:
        async with echo() as gone:
            pass
        async with Proxy(gone.url) as proxy:
            assert await Client(proxy.port).ask(b"1\n") == b""
        return dict(proxy.counts)

    assert asyncio.run(asyncio.wait_for(main(), 20)) == {"connections": 1, "refused": 1}


def test_leaving_cuts_what_is_open() -> None:
    """Also what is being held back, for however long; the datastore does not get it afterwards."""

    faults = Faults(schedule={1: "delay"}, delay_ms=60_000, matcher=lambda request: request == b"held\n")

    async def main() -> None:
        async with echo() as server:
            async with Proxy(server.url, faults) as proxy:
                idle, waiting = Client(proxy.port), Client(proxy.port)
                answer = asyncio.ensure_future(waiting.ask(b"held\n"))
                while not proxy.counts["delay"]:
                    assert await idle.ask(b"1\n") == b"1\n"
            assert await answer == b""
            assert await idle.ask(b"2\n") == b""
            with pytest.raises(ConnectionError):
                await idle.ask(b"3\n")
            assert set(server.lines) == {b"1\n"}

    asyncio.run(asyncio.wait_for(main(), 20))


def test_the_url_keeps_everything_but_the_address() -> None:
    async def main() -> None:
        async with Proxy("redis://user:secret@localhost:6379/3?wait=1") as proxy:
            assert proxy.url == f"redis://user:secret@127.0.0.1:{proxy.port}/3?wait=1"

    asyncio.run(main())


@pytest.mark.parametrize("target", ["sqlite:counters.db", "redis://localhost", "etcd://a:1,b:2", "redis://a:x"])
def test_a_target_has_one_host_and_port(target: str) -> None:
    with pytest.raises(ConfigurationError):
        Proxy(target)


@pytest.mark.parametrize("rates", [{"delay": -0.1}, {"delay": 0.6, "half_open": 0.5}])
def test_rates_are_shares_of_one(rates: Mapping[Fault, float]) -> None:
    with pytest.raises(ConfigurationError):
        Faults(rates=rates)
