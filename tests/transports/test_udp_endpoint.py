"""The UDP endpoint on real sockets of the loopback interface."""

from __future__ import annotations

import errno
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.transports.sockets import (
    LOOPBACKS,
    PATIENCE,
    CountingSocket,
    StandIn,
    closed_port,
    counting_socket,
    needs_ipv6,
    open_raw,
)
from trio_coap import (
    ACK,
    CON,
    Client,
    Code,
    Endpoint,
    LocalProtocolError,
    Message,
    NetworkError,
    Request,
    Server,
    SocketEndpoint,
    TransmissionParameters,
    open_client,
    open_endpoint,
    serve,
)
from trio_coap.transports.driver import run_endpoint
from trio_coap.transports.udp import endpoint as udp
from trio_coap.transports.udp.sockets import open_socket
from trio_coap.wire.message import decode_message_untrusted

GET = Request(Code.GET, message_id=0x1234, token=b"tk").encode()


@asynccontextmanager
async def open_server(host: str, handler=lambda request: "here") -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(serve, handler, host, 0)
        with trio.fail_after(PATIENCE):
            yield server
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_a_request_over_each_family(host: str) -> None:
    requests: list[Request] = []
    async with open_server(host, requests.append) as server, open_client(host=host) as client:
        assert (await client.get(f"{server.uri}/r")).code is Code.CONTENT
        assert requests[0].source_endpoint is Endpoint(client.endpoint.sockaddr)
        assert await client.ping(server.uri) < PATIENCE


@needs_ipv6
async def test_a_wildcard_endpoint_serves_both_families_and_shows_ipv4_as_such() -> None:
    requests: list[Request] = []
    async with open_server("::", requests.append) as server, open_client() as client:
        port = server.endpoint.port
        await client.get(f"coap://127.0.0.1:{port}/r")
        await client.get(f"coap://[::1]:{port}/r")
    sources = [request.source_endpoint for request in requests]
    assert [source and source.hostinfo for source in sources] == [
        f"127.0.0.1:{client.endpoint.port}",
        f"[::1]:{client.endpoint.port}",
    ]
    addresses = [request.local_address for request in requests]
    assert [address and address.hostinfo for address in addresses] == [f"127.0.0.1:{port}", f"[::1]:{port}"]
    assert [request.options.uri_host for request in requests] == [None, None]


@pytest.mark.parametrize("wildcard", ["0.0.0.0", pytest.param("::", marks=needs_ipv6)])
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2"])
async def test_an_answer_leaves_from_the_address_that_was_asked(wildcard: str, asked: str) -> None:
    async def slow(request: Request) -> str:
        await trio.sleep(0.15)
        return "slow"

    for handler in (lambda request: "plain", slow):
        async with open_server(wildcard, handler) as server:
            with open_raw() as sock:
                await sock.connect((asked, server.endpoint.port))  # What comes from elsewhere is not received.
                await sock.send(GET)
                answer = decode_message_untrusted(await sock.recv(2048))
                assert answer.type is ACK
                if answer.is_empty:
                    assert decode_message_untrusted(await sock.recv(2048)).type is CON
                await sock.send(Message(message_id=1).encode())
                reset = b""
                while reset[:1] != b"\x70":
                    reset = await sock.recv(2048)


async def test_an_answer_leaves_somehow_if_its_address_went_away() -> None:
    async with open_endpoint("::") as endpoint:
        with open_raw() as sock:
            gone = Endpoint(("198.51.100.1", endpoint.port))
            endpoint.rawsendto(b"x", Endpoint(sock.getsockname()), gone)
            with trio.fail_after(PATIENCE):
                assert await sock.recv(10) == b"x"


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_port_zero_is_the_kernels_choice(host: str) -> None:
    async with open_endpoint(host, 0) as one, open_endpoint(host, 0) as two:
        assert one.port != two.port
        assert one.bound_socket is not None
        assert one.sockaddr == one.bound_socket.getsockname()


async def test_a_port_that_is_taken_is_not_stolen() -> None:
    async with open_endpoint("127.0.0.1") as endpoint:
        with pytest.raises(OSError, match="in use"):
            async with open_endpoint("127.0.0.1", endpoint.port):
                pytest.fail("two endpoints on one port")


async def test_a_name_is_not_bound_to() -> None:
    with pytest.raises(LocalProtocolError):
        SocketEndpoint.create_bound_endpoint(host="localhost", port=0)
    with pytest.raises(LocalProtocolError, match="not to a name"):
        SocketEndpoint.create_bound_endpoint(host="localhost", port=0, family=None)  # type: ignore[arg-type]


async def test_an_address_of_somebody_else_is_not_bound_to() -> None:
    with pytest.raises(OSError) as info:
        SocketEndpoint.create_bound_endpoint(host="192.0.2.1", port=0)
    assert info.value.errno == errno.EADDRNOTAVAIL


async def test_ports_can_be_shared_on_request() -> None:
    parameters = TransmissionParameters(max_latency=99)
    async with open_endpoint("127.0.0.1", reuse_port=True) as endpoint:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", endpoint.port))
        # One endpoint object cannot stand for two sockets, nor have two sets of parameters.
        with pytest.raises(LocalProtocolError, match="exists already"):
            SocketEndpoint.create_bound_endpoint(
                host="127.0.0.1", port=endpoint.port, reuse_port=True, parameters=parameters
            )
        with pytest.raises(trio.BusyResourceError):
            SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=endpoint.port, reuse_port=True)
        gc.collect()  # A socket left open is a ResourceWarning, and those are errors.


async def test_an_ipv4_socket_cannot_send_to_ipv6() -> None:
    async with open_client(host="127.0.0.1") as client:
        with pytest.raises(NetworkError) as info:
            await client.get("coap://[::1]/r")
        assert info.value.os_error.errno == errno.EAFNOSUPPORT


async def test_no_name_is_sent_to() -> None:
    """The socket would ask a resolver, and block the loop meanwhile."""
    async with open_client(host="127.0.0.1") as client:
        with pytest.raises(NetworkError) as info:
            await client.get("/r", remote=Endpoint(host="localhost", family=None))
        assert info.value.os_error.errno == errno.EADDRNOTAVAIL


async def test_an_endpoint_is_another_one_after_closing() -> None:
    async with open_endpoint("127.0.0.1") as first:
        assert SocketEndpoint.lookup_endpoint(first.sockaddr) is first
        port = first.port
    assert SocketEndpoint.lookup_endpoint(first.sockaddr) is None
    async with open_endpoint("127.0.0.1", port) as second:
        assert second is not first
        assert not second.is_closed
        first.close()
        assert SocketEndpoint.lookup_endpoint(second.sockaddr) is second


# Closing.


async def test_closing_wakes_all_who_wait_and_leaves_nothing_open() -> None:
    with open_raw() as silent:
        uri = f"coap://127.0.0.1:{silent.getsockname()[1]}/r"
        async with open_endpoint("127.0.0.1") as endpoint, trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await Client(endpoint).get(uri)

            for _ in range(3):
                nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            sock = endpoint.bound_socket
            assert sock is not None
            endpoint.close()
        assert sock.fileno() == -1
        assert endpoint.bound_socket is None
    gc.collect()


async def test_receiving_without_tasks_ends_with_the_endpoint() -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=0)

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        endpoint.close()
    with pytest.raises(trio.ClosedResourceError):
        await endpoint.receive()
    with pytest.raises(trio.ClosedResourceError):
        endpoint.rawsendto(b"x", Endpoint(("127.0.0.1", 9)))


async def test_a_finally_of_the_body_can_still_ask_when_all_is_cancelled() -> None:
    answers = []
    async with open_server("127.0.0.1") as server:
        with trio.CancelScope() as scope:
            async with open_client(host="127.0.0.1") as client:
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.move_on_after(PATIENCE, shield=True):
                        answers.append((await client.delete(f"{server.uri}/r")).text)
    assert answers == ["here"]


# Without tasks, and with a stand-in.


async def test_receiving_without_running_tasks() -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=0)
    try:
        with open_raw() as sock, trio.fail_after(PATIENCE):
            await sock.sendto(GET, endpoint.sockaddr)
            message = await endpoint.receive()
            assert message is not None
            assert message.token == b"tk"
            assert (await sock.recv(100)) == bytes.fromhex("70001234")  # Nobody serves.
            await sock.sendto(b"raw", endpoint.sockaddr)
            data, source = await endpoint.rawrecvfrom()
            assert (data, source) == (b"raw", Endpoint(sock.getsockname()))
    finally:
        endpoint.close()


async def test_a_stand_in_needs_five_methods_and_no_more() -> None:
    stand_in = StandIn()
    endpoint = SocketEndpoint(stand_in.getsockname(), socket.AF_UNSPEC)
    assert endpoint.set_bound_socket(stand_in) is None  # type: ignore[arg-type]
    assert endpoint.bound_socket is stand_in  # type: ignore[comparison-overlap]
    async with run_endpoint(endpoint):
        with open_raw() as sock, trio.fail_after(PATIENCE):
            await sock.sendto(Message(message_id=0x1234).encode(), endpoint.sockaddr)
            await stand_in.wait_for_send()
            assert stand_in.sent == [(bytes.fromhex("70001234"), sock.getsockname())]
    assert stand_in.is_closed


async def test_an_ipv4_stand_in_cannot_send_to_ipv6() -> None:
    stand_in = StandIn("127.0.0.1")
    endpoint = SocketEndpoint(stand_in.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(stand_in)  # type: ignore[arg-type]
    try:
        with pytest.raises(OSError, match="IPv4 only"):
            endpoint.rawsendto(b"x", Endpoint(("::1", 9)))
    finally:
        endpoint.close()


async def test_a_socket_bound_elsewhere_is_refused() -> None:
    stand_in = StandIn()
    endpoint = SocketEndpoint(("127.0.0.1", closed_port()), socket.AF_UNSPEC)
    with pytest.raises(LocalProtocolError, match="the socket is bound to"):
        endpoint.set_bound_socket(stand_in)  # type: ignore[arg-type]
    assert endpoint.bound_socket is None
    stand_in.close()


async def test_the_previous_socket_is_the_callers_to_close() -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=0)
    previous = endpoint.set_bound_socket(None)
    assert previous is not None
    assert endpoint.bound_socket is None
    assert endpoint.set_bound_socket(previous) is None
    endpoint.close()
    assert previous.fileno() == -1


async def test_a_full_send_buffer_is_counted_and_no_error() -> None:
    stand_in = StandIn()
    stand_in.send_errors = [BlockingIOError(errno.EAGAIN, "full")] * 2
    endpoint = SocketEndpoint(stand_in.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(stand_in)  # type: ignore[arg-type]
    endpoint.rawsendto(b"1", Endpoint(("127.0.0.1", 9)))
    endpoint.rawsendto(b"2", Endpoint(("127.0.0.1", 9)))
    endpoint.rawsendto(b"3", Endpoint(("127.0.0.1", 9)))
    assert [data for data, _ in stand_in.sent] == [b"3"]
    assert endpoint.statistics().turned_away == {"the socket's send buffer": 2}
    endpoint.close()


# Fairness.


async def test_a_flood_of_datagrams_does_not_starve_other_tasks() -> None:
    turns = 0
    seen: list[int] = []
    async with open_endpoint("127.0.0.1") as endpoint, trio.open_nursery() as nursery:

        class Listener:
            def request_received(self, request: Request, entry: object, now: float) -> None:
                seen.append(turns)

        endpoint.request_listener = Listener()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(1000):
                sock.sendto(Request(Code.GET, message_id=number).encode(), endpoint.sockaddr)

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(take_turns)
        with trio.fail_after(PATIENCE):
            while len(seen) < 1000:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    # Trio runs tasks in any order: two batches may come between two turns.
    assert max(seen.count(turn) for turn in set(seen)) <= 2 * udp.BATCH


async def test_the_table_of_sources_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "MAX_SOURCES", 4)
    async with open_server("127.0.0.1") as server:
        endpoint = server.endpoint
        assert isinstance(endpoint, SocketEndpoint)
        for _ in range(12):
            async with open_client(host="127.0.0.1") as client:
                await client.get(server.uri)
            assert len(endpoint._sources) <= 2 * 4


@pytest.mark.parametrize("source", [("0.0.0.0", 5683), ("127.0.0.1", 0), ("::", 5683, 0, 0), ("::1", 0, 0, 0)])
@pytest.mark.parametrize("has_tasks", [True, False])
async def test_what_comes_from_nobody_is_passed_over(source: tuple[str, int], has_tasks: bool) -> None:
    """What is sent to 0.0.0.0 gets to this very host: an answer there would go to whoever listens."""

    class Forging(CountingSocket):
        def recvfrom(self, *args: Any) -> Any:
            data, sockaddr = super().recvfrom(*args)
            return data, source if data == GET else sockaddr

    sock = Forging(socket.AF_INET, socket.SOCK_DGRAM)
    sock.send_errors = []
    sock.bind(("127.0.0.1", 0))
    endpoint = SocketEndpoint.create_bound_endpoint(sock=sock)
    with open_raw() as peer, closing(endpoint), trio.fail_after(PATIENCE):
        await peer.sendto(GET, endpoint.sockaddr)
        await peer.sendto(Message(message_id=7).encode(), endpoint.sockaddr)
        if has_tasks:
            async with run_endpoint(endpoint):
                await peer.recv(100)
        else:
            message = await endpoint.receive()
            assert message is not None
            assert message.message_id == 7
    assert endpoint.statistics().rejected == {"a source that cannot be answered": 1}
    assert endpoint.statistics().rx_messages == 1


async def test_closing_amid_a_batch_ends_it() -> None:
    calls = []
    async with open_endpoint("127.0.0.1") as endpoint:

        class Listener:
            def request_received(self, request: Request, entry: object, now: float) -> None:
                calls.append(request)
                endpoint.close()

        endpoint.request_listener = Listener()
        with open_raw() as sock:
            for number in range(5):
                await sock.sendto(Request(Code.GET, message_id=number).encode(), endpoint.sockaddr)
        await wait_all_tasks_blocked(0.01)
    assert len(calls) == 1


@needs_ipv6
async def test_a_socket_that_does_not_tell_which_address_was_asked_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "IPV6_RECVPKTINFO")
    requests: list[Request] = []
    async with open_server("::", requests.append) as server, open_client() as client:
        await client.get(f"coap://127.0.0.1:{server.endpoint.port}/r")
    assert requests[0].local_address is None


async def test_an_answer_to_a_group_leaves_from_an_address_of_ours() -> None:
    """A group as source would be EINVAL."""
    async with open_endpoint("::") as endpoint:
        with open_raw() as sock:
            endpoint.rawsendto(b"x", Endpoint(sock.getsockname()), Endpoint(("224.0.1.187", 5683)))
            with trio.fail_after(PATIENCE):
                assert await sock.recv(10) == b"x"


async def test_a_wake_up_without_a_datagram_does_no_harm() -> None:
    sock = counting_socket()
    endpoint = SocketEndpoint(sock.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(sock)
    assert not endpoint._receive_batch()
    endpoint.close()
    assert not endpoint._receive_batch()


@pytest.mark.parametrize("pause", [False, True], ids=["at once", "after a pause"])
async def test_a_running_endpoint_goes_on_with_another_socket(pause: bool) -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=0, reuse_port=True)
    async with run_endpoint(endpoint), open_client() as client:
        await wait_all_tasks_blocked()
        other = open_socket("127.0.0.1", endpoint.port, reuse_port=True)
        if pause:
            previous = endpoint.set_bound_socket(None)
            await wait_all_tasks_blocked()
            assert endpoint.set_bound_socket(other) is None
        else:
            previous = endpoint.set_bound_socket(other)
        assert previous is not None
        previous.close()
        assert await client.ping(endpoint.uri) < 1


async def test_what_an_endpoint_without_a_socket_sends_fails_and_it_goes_on() -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=0)
    async with run_endpoint(endpoint), open_client(endpoint=endpoint) as client:
        sock = endpoint.set_bound_socket(None)
        with pytest.raises(NetworkError, match="no socket"):
            await client.get("coap://127.0.0.1/r")
        assert endpoint.set_bound_socket(sock) is None
        assert await client.ping(endpoint.uri) < 1


def test_an_endpoint_can_get_and_lose_its_socket_without_a_loop() -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=0)
    sock = endpoint.set_bound_socket(None)
    assert sock is not None
    sock.close()


def test_an_endpoint_can_be_closed_without_a_loop() -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=0)
    sock = endpoint.bound_socket
    assert sock is not None
    endpoint.close()
    assert sock.fileno() == -1
    assert endpoint.is_closed
    endpoint.close()
