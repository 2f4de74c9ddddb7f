"""The message layer in virtual time, on a virtual network (:rfc:`7252` section 4.8)."""

from __future__ import annotations

import time

import pytest
import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import TransmissionTimeout
from trio_coap.testing import VirtualNetwork
from trio_coap.wire.codes import CON, Code
from trio_coap.wire.message import Request


class Waiter:
    """Waits for the fate of one message."""

    def __init__(self):
        self.failed_at = None
        self.error = None

    def message_acknowledged(self, entry, now):
        raise AssertionError("nobody is there to acknowledge")

    def message_failed(self, entry, error, now):
        self.failed_at = now
        self.error = error

    def endpoint_closed(self):
        pass


async def test_a_con_to_nobody_is_sent_five_times_and_forgotten_in_the_end(autojump_clock):
    started = time.perf_counter()
    waiter = Waiter()
    async with VirtualNetwork(seed=3) as network, network.open_endpoint("client") as client:
        nobody = Endpoint(host="192.0.2.1")
        client.send(Request(Code.GET, uri_path=("x",)), nobody, listener=waiter)
        await trio.sleep(92.999)
        assert waiter.error is None
        await trio.sleep(0.002)
        assert isinstance(waiter.error, TransmissionTimeout)
        assert waiter.failed_at == pytest.approx(93)
        await trio.sleep_until(246.999)
        assert client.statistics().sent == 1
        assert client.known_remote(nobody) is not None
        await trio.sleep_until(247.001)
        assert client.statistics().sent == 0
        assert client.known_remote(nobody) is None
        await trio.sleep(1000)
        sent_at = [record.time for record in network.trace]
    first = sent_at[1]
    assert 2 <= first <= 3
    assert sent_at == pytest.approx([0, first, 3 * first, 7 * first, 15 * first])
    assert {record.octets for record in network.trace} == {network.trace[0].octets}
    assert {record.message.type for record in network.trace if record.message is not None} == {CON}
    assert time.perf_counter() - started < 1
