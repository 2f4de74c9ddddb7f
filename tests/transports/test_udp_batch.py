"""How many datagrams are read at one wake-up."""

from __future__ import annotations

import socket

import pytest
import trio

from tests.transports.sockets import closed_port
from trio_coap import Client, NetworkError
from trio_coap.transports.udp.batch import BATCH, BatchSize
from trio_coap.transports.udp.opening import open_endpoint


def after(*counts: int) -> int:
    batch = BatchSize()
    for count in counts:
        batch.learn(count)
    return batch.datagrams


def test_at_first_many_are_expected() -> None:
    assert after() == BATCH


def test_a_few_single_ones_change_nothing() -> None:
    assert after(*[1] * 7) == BATCH


def test_after_several_single_ones_one_is_read() -> None:
    assert after(*[1] * 8) == 1


def test_single_ones_among_others_change_nothing() -> None:
    assert after(*[1, 1, 1, 1, 1, 5] * 10) == BATCH


def test_from_time_to_time_it_is_looked_into_again() -> None:
    assert after(*[1] * (8 + 15)) == 1
    assert after(*[1] * (8 + 16)) == BATCH
    assert after(*[1] * (8 + 16 + 1)) == 1, "nothing has changed"
    assert after(*[1] * (8 + 16), 3, *[1] * 7) == BATCH, "now they come together"


def test_an_empty_wake_up_is_no_sign_of_many() -> None:
    assert after(*[0] * 8) == 1


class Counting:
    """A socket that counts how often it had nothing to read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.in_vain = 0

    def recvfrom(self, size: int) -> tuple[bytes, object]:
        try:
            return self._sock.recvfrom(size)
        except BlockingIOError:
            self.in_vain += 1
            raise

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


async def test_one_at_a_time_costs_hardly_any_read_in_vain_and_a_crowd_is_read_at_once() -> None:
    async with open_endpoint("127.0.0.1", 0) as endpoint:
        assert endpoint.bound_socket is not None
        counting = Counting(endpoint.bound_socket)
        endpoint._socket = counting  # type: ignore[assignment]
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, trio.fail_after(10):
            await peer.connect(("127.0.0.1", endpoint.port))
            for number in range(200):
                await peer.send(bytes((0x40, 0)) + number.to_bytes(2, "big"))  # A ping.
                await peer.recv(10)
            assert counting.in_vain < 40
            for number in range(64):
                await peer.send(bytes((0x40, 0)) + (1000 + number).to_bytes(2, "big"))
            for _ in range(64):
                await peer.recv(10)
    assert endpoint.statistics().rx_messages == 264


async def test_errors_are_seen_while_single_datagrams_are_read() -> None:
    async with open_endpoint("127.0.0.1", 0) as endpoint:
        client = Client(endpoint)
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, trio.fail_after(10):
            await peer.connect(("127.0.0.1", endpoint.port))
            for number in range(20):
                await peer.send(bytes((0x40, 0)) + number.to_bytes(2, "big"))
                await peer.recv(10)
            assert endpoint._batch.datagrams == 1
            with pytest.raises(NetworkError):
                await client.get(f"coap://127.0.0.1:{closed_port()}/r")
