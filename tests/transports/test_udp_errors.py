"""ICMP errors: which of them end a request, and that none of them ends or busies the endpoint."""

from __future__ import annotations

import errno
import socket
import struct
import sys

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.transports.sockets import LOOPBACKS, PATIENCE, StandIn, closed_port, counting_socket, open_raw
from trio_coap import (
    Client,
    Code,
    Endpoint,
    NetworkError,
    Request,
    SocketEndpoint,
    open_client,
)
from trio_coap.transports.driver import run_endpoint
from trio_coap.transports.udp import endpoint as udp
from trio_coap.transports.udp.errors import MAX_DRAINED, QueuedError, SockExtendedErr, drain_errors, enable_errors
from trio_coap.transports.udp.sending import SEND_ATTEMPTS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux queues ICMP errors")

REFUSED = SockExtendedErr(errno.ECONNREFUSED, 2, 3, 3, 0, 0)


def literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host


# The structure.


def test_the_structure_is_that_of_linux() -> None:
    data = struct.pack("=IBBBBII", errno.EMSGSIZE, 3, 2, 0, 0, 1280, 7)
    assert SockExtendedErr.load(data) == SockExtendedErr(errno.EMSGSIZE, 3, 2, 0, 1280, 7)
    assert SockExtendedErr.load(data + b"the offender's address") == SockExtendedErr.load(data)


@pytest.mark.parametrize("size", range(16))
def test_fewer_octets_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"16 octets, not {size}"):
        SockExtendedErr.load(bytes(size))


@pytest.mark.parametrize(
    ("origin", "type", "code", "ends"),
    [
        (1, 0, 0, False),  # this host
        (0, 3, 3, False),
        (2, 3, 3, True),  # port unreachable
        (2, 3, 1, True),  # host unreachable
        (2, 3, 13, True),  # prohibited
        (2, 3, 4, False),  # fragmentation needed
        (2, 4, 0, False),  # source quench
        (2, 11, 0, False),  # time exceeded
        (3, 1, 4, True),
        (3, 1, 0, True),
        (3, 2, 0, False),  # packet too big
        (3, 3, 0, False),  # hop limit exceeded
        (3, 4, 1, True),  # parameter problem
    ],
)
def test_news_about_the_way_do_not_end_an_exchange(origin: int, type: int, code: int, ends: bool) -> None:
    error = SockExtendedErr(errno.EHOSTUNREACH, origin, type, code, 0, 0)
    assert error.ends_exchange is ends
    assert error.to_os_error().errno == errno.EHOSTUNREACH


def test_a_queue_without_errors_is_drained_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        assert enable_errors(sock)
        assert list(drain_errors(sock)) == []


async def test_the_queue_says_what_was_sent_where() -> None:
    port = closed_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        enable_errors(sock)
        sock.sendto(b"quoted", ("127.0.0.1", port))
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.wait_readable(sock)
        (queued,) = drain_errors(sock)
    assert queued.sockaddr == ("127.0.0.1", port)
    assert queued.quoted == b"quoted"
    assert (queued.error.errno, queued.error.origin, queued.error.type, queued.error.code) == (111, 2, 3, 3)


def test_where_there_are_no_such_options_there_are_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        assert not enable_errors(sock)
    monkeypatch.setattr(sys, "platform", "other")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not enable_errors(sock)


# On the wire.


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("local", ["::", "same"])
async def test_a_refused_request_fails_at_once_and_no_other(host: str, local: str) -> None:
    with open_raw(host) as silent, open_raw(host) as other:
        waiting = [f"coap://{literal(host)}:{sock.getsockname()[1]}/r" for sock in (silent, other)]
        async with (
            open_client(host=host if local == "same" else local) as client,
            client.request(Code.GET, waiting[0]) as one,
            client.request(Code.GET, waiting[1]) as two,
        ):
            refused = f"coap://{literal(host)}:{closed_port(host)}/r"
            # No retransmission is due before two seconds.
            with pytest.raises(NetworkError) as info, trio.fail_after(1):
                await client.get(refused)
            assert isinstance(info.value.os_error, ConnectionRefusedError)
            assert info.value.transmissions == 1
            assert info.value.destination_endpoint.uri in refused
            assert client.endpoint.statistics().tokens == 2
            assert (one.transmissions, two.transmissions) == (1, 1)


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_many_refused_requests_each_fail(host: str) -> None:
    failures = []
    async with open_client(host=host) as client, trio.open_nursery() as nursery:

        async def ask(uri: str) -> None:
            with pytest.raises(NetworkError):
                await client.get(uri)
            failures.append(uri)

        with trio.fail_after(PATIENCE):
            for _ in range(3 * MAX_DRAINED):
                nursery.start_soon(ask, f"coap://{literal(host)}:{closed_port(host)}/r")
            while len(failures) < 3 * MAX_DRAINED:
                await trio.lowlevel.checkpoint()


async def test_a_pending_error_about_one_peer_does_not_keep_a_request_from_another() -> None:
    """An ICMP error makes the next send fail once, whoever that is for."""
    with open_raw() as peer:
        sock = counting_socket()
        endpoint = SocketEndpoint(sock.getsockname(), socket.AF_UNSPEC)
        endpoint.set_bound_socket(sock)
        async with run_endpoint(endpoint):
            client = Client(endpoint)
            sock.send_errors = [ConnectionRefusedError(errno.ECONNREFUSED, "of another")] * (SEND_ATTEMPTS - 1)
            async with client.request(Code.GET, f"coap://127.0.0.1:{peer.getsockname()[1]}/r") as handle:
                with trio.fail_after(PATIENCE):
                    await peer.recv(100)
                assert handle.transmissions == 1
            sock.send_errors = [OSError(errno.ENETUNREACH, "no route")] * SEND_ATTEMPTS
            with pytest.raises(NetworkError, match="no route"):
                await client.get("coap://192.0.2.1/r")


async def test_a_send_that_is_not_permitted_ends_its_exchange_and_no_other() -> None:
    stand_in = StandIn()
    endpoint = SocketEndpoint(stand_in.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(stand_in)  # type: ignore[arg-type]
    async with run_endpoint(endpoint):
        client = Client(endpoint)
        async with client.request(Code.GET, "coap://192.0.2.1/r") as other:
            stand_in.send_errors = [PermissionError(errno.EPERM, "Operation not permitted")]
            with pytest.raises(NetworkError, match="a firewall of this host"), trio.fail_after(1):
                await client.get("coap://192.0.2.2/r")
            assert endpoint.statistics().tokens == 1
            assert other.transmissions == 1
            assert [address for _, address in stand_in.sent] == [("192.0.2.1", 5683)]


@pytest.mark.parametrize("has_tasks", [True, False])
@pytest.mark.parametrize("host", LOOPBACKS)
async def test_pending_errors_do_not_keep_the_receiver_busy(host: str, has_tasks: bool) -> None:
    sock = counting_socket(host)
    endpoint = SocketEndpoint(sock.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(sock)

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await endpoint.receive()

    async with trio.open_nursery() as nursery:
        if has_tasks:
            await nursery.start(run_until_cancelled, endpoint)
        else:
            nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        for _ in range(5):
            endpoint.rawsendto(b"anybody?", Endpoint((host, closed_port(host))))
        # All that there is to read is read within these turns; who is kept busy would go on.
        await wait_all_tasks_blocked(0.05)
        reads = sock.reads
        assert reads <= 5 * 2 + 2
        await wait_all_tasks_blocked(0.05)
        assert sock.reads == reads
        endpoint.close()
        nursery.cancel_scope.cancel()
    assert endpoint.statistics().rejected == {"an ICMP error that quotes nothing we sent": 5}


async def run_until_cancelled(
    endpoint: SocketEndpoint, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with run_endpoint(endpoint):
        task_status.started()
        await trio.sleep_forever()


async def test_errors_are_read_even_if_datagrams_never_end() -> None:
    """A batch that is full must not put off the error queue for ever: undrained it eats the receive buffer."""
    sock = counting_socket()
    endpoint = SocketEndpoint(sock.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(sock)
    handle = Client(endpoint).request(Code.GET, f"coap://127.0.0.1:{closed_port()}/r")
    async with handle:
        with open_raw() as peer:
            for _ in range(2 * udp.BATCH):
                await peer.sendto(b"noise", endpoint.sockaddr)
        assert endpoint._receive_batch()
        with pytest.raises(NetworkError):
            await handle.receive()
    endpoint.close()


# Forged and foreign errors.


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[QueuedError]:
    """What the endpoints find in their error queue."""
    errors: list[QueuedError] = []
    monkeypatch.setattr(udp, "drain_errors", lambda sock: [errors.pop(0) for _ in range(len(errors))])
    return errors


@pytest.mark.parametrize(
    "name",
    ["another remote", "another port", "nothing quoted", "header only", "another token", "another message ID", "more"],
)
async def test_an_error_that_quotes_nothing_that_was_sent_is_ignored_and_counted(
    name: str, queued: list[QueuedError]
) -> None:
    sock = counting_socket()
    endpoint = SocketEndpoint(sock.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(sock)
    with open_raw() as peer:
        host, port = peer.getsockname()
        async with Client(endpoint).request(Code.GET, f"coap://{host}:{port}/r") as handle:
            sent = await peer.recv(100)
            assert len(sent) > 8
            where, quoted = {
                "another remote": (("127.0.0.2", port), sent),
                "another port": ((host, port ^ 1), sent),
                "nothing quoted": ((host, port), b""),
                "header only": ((host, port), sent[:4]),
                "another token": ((host, port), sent[:4] + bytes((sent[4] ^ 1,)) + sent[5:]),
                "another message ID": ((host, port), sent[:3] + bytes((sent[3] ^ 1,)) + sent[4:]),
                "more": ((host, port), sent + b"more"),
            }[name]
            queued.append(QueuedError(where, quoted, REFUSED))
            endpoint._receive_batch()
            assert endpoint.statistics().tokens == 1
            assert endpoint.statistics().rejected == {"an ICMP error that quotes nothing we sent": 1}
            # Header and token are enough: routers quote no more than they must.
            queued.append(QueuedError((host, port), sent[:8], REFUSED))
            endpoint._receive_batch()
            with pytest.raises(NetworkError):
                await handle.receive()
    endpoint.close()


async def test_an_error_about_the_way_is_ignored_and_counted(queued: list[QueuedError]) -> None:
    sock = counting_socket()
    endpoint = SocketEndpoint(sock.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(sock)
    with open_raw() as peer:
        async with Client(endpoint).request(Code.GET, f"coap://127.0.0.1:{peer.getsockname()[1]}/r"):
            sent = await peer.recv(100)
            expired = SockExtendedErr(errno.EHOSTUNREACH, 2, 11, 0, 0, 0)
            queued.append(QueuedError(peer.getsockname(), sent, expired))
            endpoint._receive_batch()
            assert endpoint.statistics().tokens == 1
            counted = endpoint.statistics().socket
            assert counted is not None
            assert counted.errors_ignored == {"about the way, or of our own host": 1}
            assert counted.errors_believed == 0
    endpoint.close()


async def test_an_error_about_a_response_of_ours_does_no_harm() -> None:
    """The client is gone when the answer comes."""
    sock = counting_socket()
    endpoint = SocketEndpoint(sock.getsockname(), socket.AF_UNSPEC)
    endpoint.set_bound_socket(sock)
    async with run_endpoint(endpoint):
        gone = Endpoint(("127.0.0.1", closed_port()))
        for number in range(3):
            endpoint._deliver(Request(Code.GET, message_id=number).encode(), gone, trio.current_time())
        await wait_all_tasks_blocked(0.02)
        with open_raw() as peer, trio.fail_after(PATIENCE):
            await peer.sendto(bytes.fromhex("40001234"), endpoint.sockaddr)
            assert await peer.recv(100) == bytes.fromhex("70001234")
