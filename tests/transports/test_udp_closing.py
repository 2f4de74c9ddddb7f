"""Closing and cancelling, on real sockets: what was read is processed, and nothing is left open."""

from __future__ import annotations

import gc
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.transports.sockets import LOOPBACKS, PATIENCE, open_raw
from tests.transports.test_udp_groups import GROUP
from trio_coap import (
    ACK,
    CON,
    NON,
    RST,
    Code,
    LocalProtocolError,
    MessageType,
    Request,
    Server,
    SocketEndpoint,
    open_client,
    open_endpoint,
    serve,
)
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.transports.udp import endpoint as udp
from trio_coap.transports.udp.sockets import open_shared_sockets, open_socket
from trio_coap.wire.message import decode_message_untrusted

DESCRIPTORS = Path("/proc/self/fd")
LOAD = 8 * udp.BATCH
IN_A_GROUP: dict[str, Any] = {"groups": [GROUP], "interfaces": ["lo"]}


def open_descriptors() -> set[str]:
    """Return the descriptors that are open, and what they stand for."""
    found = set()
    for name in os.listdir(DESCRIPTORS):
        with suppress(OSError):  # That of the directory itself.
            found.add(f"{name}: {os.readlink(DESCRIPTORS / name)}")
    return found


pytestmark = pytest.mark.skipif(not DESCRIPTORS.exists(), reason="this system does not list open descriptors")


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """Descriptors and tasks are those from before, and what is collected has been closed: warnings are errors."""
    gc.collect()
    descriptors, tasks = open_descriptors(), trio.lowlevel.current_statistics().tasks_living
    yield
    gc.collect()
    assert not open_descriptors() - descriptors
    assert trio.lowlevel.current_statistics().tasks_living == tasks


def receive_answers(sock: socket.socket) -> Counter[MessageType]:
    """Return how many answers of each type have arrived."""
    answers: Counter[MessageType] = Counter()
    with suppress(BlockingIOError):
        while True:
            answers[decode_message_untrusted(sock.recv(2048)).type] += 1
    return answers


async def require_all_processed(endpoint: DrivenEndpoint, calls: int, sock: socket.socket, type: MessageType) -> None:
    """Check that what *endpoint* has read was answered by the handler, or rejected, and that all of it is counted."""
    await trio.sleep(0.01)
    counted = endpoint.statistics()
    rejected = sum(counted.rejected.values())
    answers = receive_answers(sock)
    assert counted.rx_messages == calls + rejected
    assert counted.tx_messages == answers.total()
    assert answers[ACK] + answers[NON] == calls
    assert answers[RST] == (rejected if type is CON else 0), "section 4.2: a NON is rejected in silence"
    assert counted.turned_away == {}


@pytest.fixture
def flood() -> Iterator[socket.socket]:
    """The socket of a peer that sends much."""
    with open_socket("127.0.0.1", 0) as sock:
        yield sock


def send_requests(sock: socket.socket, port: int, type: MessageType, numbers: range) -> None:
    for number in numbers:
        request = Request(Code.GET, type=type, message_id=number, token=number.to_bytes(2, "big"))
        sock.sendto(request.encode(), ("127.0.0.1", port))


# While there is much to do.


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
@pytest.mark.parametrize("type", [CON, NON], ids=["CON", "NON"])
@pytest.mark.parametrize("number", [1, 7, udp.BATCH, udp.BATCH + 1, 2 * udp.BATCH - 1])
async def test_what_was_read_when_a_server_is_cancelled_is_answered(
    flood: socket.socket, number: int, type: MessageType, host: str
) -> None:
    """The scope is cancelled by the handler, in the middle of a batch."""
    calls = 0
    scope = trio.CancelScope()

    def handler(request: Request) -> str:
        nonlocal calls
        calls += 1
        if calls == number:
            scope.cancel()
        return "here"

    endpoint: SocketEndpoint | None = None
    with trio.fail_after(PATIENCE), scope:
        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(serve, handler, host, 0)
            assert isinstance(server.endpoint, SocketEndpoint)
            endpoint = server.endpoint
            send_requests(flood, endpoint.port, type, range(LOAD))
    assert endpoint is not None
    assert number <= calls < LOAD, "in the middle of it"
    await require_all_processed(endpoint, calls, flood, type)


async def test_what_was_read_when_another_task_cancels_is_answered(flood: socket.socket) -> None:
    """At each of the moments at which another task has its turn, while the load goes on."""
    handled = set()
    for turns in range(12):
        calls = 0

        def handler(request: Request) -> str:
            nonlocal calls
            calls += 1
            return "here"

        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(serve, handler, "127.0.0.1", 0)
            for turn in range(turns):
                numbers = range(turn * 2 * udp.BATCH, (turn + 1) * 2 * udp.BATCH)
                send_requests(flood, server.endpoint.port, CON, numbers)
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await require_all_processed(server.endpoint, calls, flood, CON)
        handled.add(calls)
    assert len(handled) > 3, "some were cancelled early, some late"


async def test_what_was_read_when_the_endpoint_is_closed_is_answered(flood: socket.socket) -> None:
    entries = []
    async with open_endpoint("127.0.0.1") as endpoint:

        class Listener:
            def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
                entries.append(entry)
                entry.reply()
                if len(entries) == 10:
                    endpoint.close()

        endpoint.request_listener = Listener()
        send_requests(flood, endpoint.port, CON, range(LOAD))
        await endpoint.wait_closed()
    assert len(entries) == endpoint.statistics().rx_messages == endpoint.statistics().tx_messages == 10


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_clients_that_are_cancelled_amid_their_requests_leave_nothing(host: str) -> None:
    literal = f"[{host}]" if ":" in host else host
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(serve, lambda request: "here", host, 0)
        uri = f"coap://{literal}:{server.endpoint.port}/r"
        for turns in range(10):
            async with open_client(host=host) as client, trio.open_nursery() as asking:

                async def ask(client: Any = client) -> None:
                    while True:
                        await client.get(uri)

                for _ in range(20):
                    asking.start_soon(ask)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                asking.cancel_scope.cancel()
            counted = client.endpoint.statistics()
            assert (counted.tokens, counted.sent, counted.received, counted.pending) == (0, 0, 0, 0)
        nursery.cancel_scope.cancel()


# Descriptors.


async def test_an_endpoint_in_a_group_has_two_descriptors_and_leaves_none() -> None:
    before = open_descriptors()
    with trio.CancelScope() as scope:
        async with open_endpoint("::", 0, **IN_A_GROUP):
            await wait_all_tasks_blocked()
            assert len(open_descriptors() - before) == (2 if hasattr(socket, "AF_NETLINK") else 1)
            scope.cancel()
            await trio.sleep_forever()
    assert not open_descriptors() - before


@asynccontextmanager
async def open_server() -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve, lambda request: "here", "::", 0, **IN_A_GROUP))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "opened",
    [partial(open_endpoint, "::", 0, **IN_A_GROUP), partial(open_client, host="::", **IN_A_GROUP), open_server],
    ids=["endpoint", "client", "server"],
)
async def test_opening_that_is_cancelled_leaves_nothing(opened: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
    """At each of the moments at which another task has its turn, and before the first one."""
    is_open = []
    for turns in range(8):
        entered = trio.Event()

        async def enter(entered: trio.Event = entered) -> None:
            async with opened():
                entered.set()
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            if turns == 0:
                nursery.cancel_scope.cancel()
            nursery.start_soon(enter)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        is_open.append(entered.is_set())
    assert is_open[-1], "some were cancelled when all was open"


# Opening that fails half-way.


async def test_a_port_that_is_taken_leaves_nothing_open() -> None:
    with open_raw() as other, pytest.raises(OSError, match="in use"):
        async with open_endpoint("127.0.0.1", other.getsockname()[1], **IN_A_GROUP):
            pytest.fail("two on one port")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param({"groups": [GROUP], "interfaces": ["none such"]}, "no interface", id="interface"),
        pytest.param({"groups": [GROUP, "10.0.0.1"], "interfaces": ["lo"]}, "not the address", id="second group"),
        pytest.param({"multicast_hops": 0}, "hops", id="hops"),
    ],
)
@pytest.mark.parametrize("is_given", [False, True], ids=["own socket", "given socket"])
async def test_what_cannot_be_joined_leaves_nothing_open(arguments: dict[str, Any], says: str, is_given: bool) -> None:
    if is_given:
        arguments = {**arguments, "sock": open_socket("::", 0)}
    for opened in (open_endpoint, open_client):
        with pytest.raises(LocalProtocolError, match=says):
            async with opened(**arguments):
                pytest.fail("it is open")
        if is_given:
            assert arguments["sock"].fileno() == -1, "who is given a socket closes it"
            return


async def test_an_endpoint_that_is_there_already_leaves_nothing_open() -> None:
    async with open_endpoint("127.0.0.1", 0, reuse_port=True) as endpoint:
        before = open_descriptors()
        with pytest.raises(trio.BusyResourceError):
            async with open_endpoint("127.0.0.1", endpoint.port, reuse_port=True):
                pytest.fail("two in one process")
        gc.collect()
        assert not open_descriptors() - before


async def test_sockets_of_which_not_all_are_to_be_had_leave_nothing_open() -> None:
    with open_raw() as other, pytest.raises(OSError, match="in use"):
        open_shared_sockets("127.0.0.1", other.getsockname()[1], 3)


async def test_a_body_that_fails_leaves_nothing_open() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_endpoint("::", 0, **IN_A_GROUP):
            1 / 0  # noqa: B018
