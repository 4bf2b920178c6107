"""A cluster's nodes: which of them has which slot, and commands on their way to those that have theirs.

A node that does not have a slot says so before it runs anything, and where to ask: so a command goes on to there in the
same call, and is still run at most once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

from redis.exceptions import AskError, MovedError, NoScriptError

from plusone.errors import PlusoneError, StoreUnavailable
from plusone.stores.redis.connections import Address, Connections, ask_any, command
from plusone.stores.redis.settings import Settings
from plusone.stores.redis.slots import Layout, parse_layout

_HOPS_MAX: Final = 5
_SLOTS: Final = command("CLUSTER", "SLOTS")
_ASKING: Final = command("ASKING")


class Call(NamedTuple):
    """A command for whoever has the slot."""

    slot: int
    packed: bytes


class Reply(NamedTuple):
    """What was answered to a call, and in the same exchange before and behind all its calls."""

    answer: Any
    """May be an error, redis-py's or ours."""
    head: Any = None
    tail: Any = None


class _Sent(NamedTuple):
    """A call on its way."""

    number: int
    """Which of the calls."""
    asking: bool = False
    """Whether the node takes the slot over, and has to be told that we know."""
    loading: bool = False
    """Whether the node said that it does not know the script."""


_Way: TypeAlias = dict[Address, list[_Sent]]


class ReplicaConnections(Connections):
    """To a replica, which answers reads only on a connection that asked for it."""

    GREETING: ClassVar[bytes] = command("READONLY")


class Cluster:
    """The nodes, found from some of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeout = (settings.node_timeout_ms + (settings.wait and settings.wait_timeout_ms)) / 1000
        self._primaries: dict[Address, Connections] = {}
        self._replicas: dict[Address, Connections] = {}
        self._to_ask = list(settings.hosts)
        """Who may know the layout, in the order in which they are asked."""
        self._layout: Layout | None = None
        self._stale = False
        """Whether something happened that a change of the layout would explain."""
        self._asking = asyncio.Lock()

    def primary(self, address: Address) -> Connections:
        """Connections to a node that is not meant as a replica."""
        return self._connections(self._primaries, Connections, address)

    def replica(self, address: Address) -> Connections:
        """Connections to a replica, for reads."""
        return self._connections(self._replicas, ReplicaConnections, address)

    async def layout(self, *, fresh: bool = False) -> Layout:
        """Who has which slot; asked for again if something pointed to a change, or if it is to be `fresh`."""
        before = self._layout
        async with self._asking:
            if self._layout is None or self._stale or (fresh and self._layout is before):
                self._stale = False
                try:
                    self._layout = await ask_any(self._to_ask, self.primary, _SLOTS, _read_layout)
                except BaseException:
                    self._stale = True
                    raise
                await self._forget_others(self._layout)
            return self._layout

    async def ask(
        self, calls: Sequence[Call], *, head: bytes = b"", tail: bytes = b"", script: bytes = b"", replica: bool = False
    ) -> Sequence[Reply]:
        """The replies, in the order of the calls; nothing is raised, for one call's failure is not another's.

        Calls for one node go to it in one exchange, nodes at the same time. `head` and `tail` are commands before and
        behind all the calls of an exchange, `script` is what to load where it is not known. With `replica`, replicas
        are asked where there are any.
        """
        replies: list[Reply] = [Reply(None)] * len(calls)
        way = await self._first_way(calls, replies, replica=replica)
        for _ in range(_HOPS_MAX):
            if not way:
                break
            exchanges = [
                self._exchange(address, sent, calls, head=head, tail=tail, script=script, replica=replica)
                for address, sent in way.items()
            ]
            found = await asyncio.gather(*exchanges) if len(exchanges) > 1 else [await exchanges[0]]
            following: _Way = {}
            for (address, sent), those in zip(way.items(), found, strict=True):
                for each, reply in zip(sent, those, strict=True):
                    replies[each.number] = reply
                    if isinstance(reply.answer, Exception):
                        self._stale = True
                        _send_on(following, each, reply.answer, address, reload=bool(script))
            way, replica = following, False
        return replies

    async def close(self) -> None:
        for connections in (*self._primaries.values(), *self._replicas.values()):
            await connections.close()

    async def _first_way(self, calls: Sequence[Call], replies: list[Reply], *, replica: bool) -> _Way:
        way: _Way = {}
        try:
            layout = await self.layout()
        except PlusoneError as error:
            replies[:] = [Reply(error)] * len(calls)
            return way
        for index, (slot, _) in enumerate(calls):
            try:
                shard = layout.shard(slot)
            except StoreUnavailable as error:
                self._stale = True
                replies[index] = Reply(error)
                continue
            address = random.choice(shard.replicas) if replica and shard.replicas else shard.primary
            way.setdefault(address, []).append(_Sent(index))
        return way

    async def _exchange(
        self,
        address: Address,
        sent: Sequence[_Sent],
        calls: Sequence[Call],
        *,
        head: bytes,
        tail: bytes,
        script: bytes,
        replica: bool,
    ) -> Sequence[Reply]:
        """One exchange with one node, which answers some of the calls."""
        commands: list[bytes] = []
        places: list[int] = []
        load = any(each.loading for each in sent)
        if load:
            commands.append(command("SCRIPT", "LOAD", script))
        if head:
            commands.append(head)
        for each in sent:
            if each.asking:
                commands.append(_ASKING)
            places.append(len(commands))
            commands.append(calls[each.number].packed)
        if tail:
            commands.append(tail)
        connections = self.replica(address) if replica and self._is_replica(address) else self.primary(address)
        try:
            found = await connections.exchange(b"".join(commands), len(commands))
        except PlusoneError as error:
            return [Reply(error)] * len(sent)
        first, last = found[load], found[-1]
        # Where the script could not be loaded, that is why it is not known.
        loaded = not load or not isinstance(found[0], Exception)
        answers = (found[place] for place in places)
        return [
            Reply(answer if loaded or not isinstance(answer, NoScriptError) else found[0], first, last)
            for answer in answers
        ]

    def _is_replica(self, address: Address) -> bool:
        return self._layout is not None and any(address in shard.replicas for shard in self._layout.shards)

    def _connections(self, known: dict[Address, Connections], kind: type[Connections], address: Address) -> Connections:
        connections = known.get(address)
        if connections is None:
            make = self._settings.connector(*address)
            connections = kind.to(make, self._settings.connections, answer_timeout=self._timeout)
            known[address] = connections
        return connections

    async def _forget_others(self, layout: Layout) -> None:
        """Let go of nodes that have no slot any more, and know whom to ask the next time."""
        primaries = {shard.primary for shard in layout.shards}
        replicas = {replica for shard in layout.shards for replica in shard.replicas}
        seeds = self._settings.hosts
        may_know = dict.fromkeys((*self._to_ask, *sorted(primaries), *sorted(replicas)))
        self._to_ask[:] = [address for address in may_know if address in primaries | replicas or address in seeds]
        for known, wanted in ((self._primaries, {*primaries, *seeds}), (self._replicas, replicas)):
            for address in known.keys() - wanted:
                await known.pop(address).close(gently=True)


def _send_on(way: _Way, each: _Sent, answer: Exception, asked: Address, *, reload: bool) -> None:
    """Let a call go on to where its definite error points, if it points anywhere."""
    if isinstance(answer, AskError):
        address = (answer.host or asked[0], answer.port)
        way.setdefault(address, []).append(each._replace(asking=not isinstance(answer, MovedError), loading=False))
    elif isinstance(answer, NoScriptError) and reload and not each.loading:
        way.setdefault(asked, []).append(each._replace(loading=True))


def _read_layout(reply: Any, asked: str) -> Layout:
    layout = parse_layout(reply, asked)
    if not layout.shards:
        raise StoreUnavailable(f"Redis: the node at {asked} knows of no slot that is served; see CLUSTER INFO there")
    return layout
