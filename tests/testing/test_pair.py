"""A client and a server in one line."""

from __future__ import annotations

import pytest
import trio

from trio_coap.messaging.errors import TransmissionTimeout
from trio_coap.testing import VirtualEndpoint, open_pair
from trio_coap.wire.codes import Code


async def test_a_client_and_a_server_talk(autojump_clock):
    async with open_pair(lambda request: request.options.uri_path[0]) as (client, server):
        response = await client.get("/hello")
        assert (response.code, response.text) == (Code.CONTENT, "hello")
        assert server.uri == "coap://10.0.0.1"
        assert isinstance(client.endpoint, VirtualEndpoint)
        assert [str(record.message.code) for record in client.endpoint.network.trace if record.message] == [
            "0.01 GET",
            "2.05 Content",
        ]


async def test_the_network_may_be_given(coap_network, autojump_clock):
    coap_network.host("2001:db8::1", name="shed")
    async with open_pair(lambda request: b"1", network=coap_network, server="shed", client="phone") as (client, server):
        assert server.uri == "coap://[2001:db8::1]"
        with pytest.raises(OSError, match="no address"):
            raise (await failure(client)).os_error
        coap_network.add_address("phone", "2001:db8::2")
        assert (await client.get("/x")).payload == b"1"
        assert (await client.get("coap://shed/x")).payload == b"1"


async def failure(client):
    try:
        await client.get("/x")
    except Exception as exc:
        return exc


async def test_the_link_may_be_given(autojump_clock):
    async with open_pair(lambda request: b"1", seed=1, loss=1.0) as (client, _):
        with pytest.raises(TransmissionTimeout):
            await client.get("/x")
    async with open_pair(lambda request: b"1", latency=0.5) as (client, _):
        started_at = trio.current_time()
        await client.get("/x")
        assert trio.current_time() - started_at == pytest.approx(1)


async def test_an_exception_of_the_body_comes_out_as_itself(autojump_clock):
    with pytest.raises(ZeroDivisionError):
        async with open_pair(lambda request: b"1"):
            _ = 1 / 0


async def test_a_cancelled_body_can_still_send_a_last_request(autojump_clock):
    last = None
    with trio.move_on_after(1):
        async with open_pair(lambda request: b"1") as (client, _):
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(5, shield=True):
                    last = await client.delete("/x")
    assert last is not None
    assert last.payload == b"1"


async def test_nothing_is_left(autojump_clock):
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with open_pair(lambda request: b"1") as (client, server):
        await client.get("/x")
    assert client.endpoint.is_closed
    assert server.endpoint.is_closed
    assert trio.lowlevel.current_statistics().tasks_living == tasks
