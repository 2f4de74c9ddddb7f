"""The life of a server: starting, cancelling, and how errors come out."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.client.support import open_peer
from tests.server.stage import Stage, make_request, open_stage
from trio_coap import (
    Client,
    Code,
    LocalProtocolError,
    NetworkError,
    Request,
    Server,
    Site,
    SocketEndpoint,
    TransmissionParameters,
    open_client,
    open_endpoint,
    serve,
)
from trio_coap.testing import VirtualNetwork, open_pair
from trio_coap.transports.driver import run_endpoint


async def test_cancelling_ends_the_handlers_before_the_endpoint(autojump_clock: MockClock) -> None:
    """A handler's finally can still send; and nothing of the server is left."""
    events = []
    servers: list[Server] = []

    async def handler(request: Request) -> str:
        try:
            await trio.sleep_forever()
        finally:
            events.append(("handler ended, endpoint closed:", servers[0].endpoint.is_closed))
        return "never"

    async with open_endpoint("127.0.0.1") as endpoint, open_client(endpoint=endpoint) as client:
        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(serve, handler, "127.0.0.1", 0)
            servers.append(server)
            with trio.move_on_after(5):
                await client.get(server.uri)
            nursery.cancel_scope.cancel()
        assert events == [("handler ended, endpoint closed:", False)]
        assert server.endpoint.is_closed
        assert server.endpoint.request_listener is None


async def test_a_server_with_its_own_endpoint_says_where_it_is() -> None:
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(serve, Site(), "127.0.0.1", 0)
        assert server.uri == f"coap://127.0.0.1:{server.endpoint.port}"
        assert server.endpoint.port != 0
        assert server.statistics().rx_messages == 0
        nursery.cancel_scope.cancel()


async def test_an_endpoint_that_was_given_is_not_closed(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with coap_network.open_endpoint("server", 5683) as endpoint:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                server: Server = await nursery.start(lambda task_status: serve_on(endpoint, task_status))
                assert server.endpoint is endpoint
                nursery.cancel_scope.cancel()
            assert not endpoint.is_closed
            assert endpoint.request_listener is None


async def serve_on(endpoint, task_status=trio.TASK_STATUS_IGNORED, handler=lambda request: "here"):
    await serve(handler, endpoint=endpoint, task_status=task_status)


async def test_one_endpoint_serves_one_handler(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_stage(lambda request: "first", coap_network) as stage:
        with pytest.raises(trio.BusyResourceError, match="somebody serves on"):
            await serve(lambda request: "second", endpoint=stage.endpoint)
        assert (await stage.ask(make_request())).text == "first"


async def test_an_endpoint_that_is_closed_cannot_be_served_on(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with coap_network.open_endpoint("server", 5683) as endpoint:
        endpoint.close()
        with pytest.raises(trio.ClosedResourceError), trio.fail_after(1):
            await serve(lambda request: "here", endpoint=endpoint)


@pytest.mark.parametrize(
    "arguments", [{"host": "127.0.0.1"}, {"port": 0}, {"parameters": TransmissionParameters()}, {"reuse_port": True}]
)
async def test_what_is_for_a_new_endpoint_is_not_given_with_one_that_exists(
    arguments: dict[str, Any], coap_network: VirtualNetwork
) -> None:
    async with coap_network.open_endpoint("server", 5683) as endpoint:
        with pytest.raises(LocalProtocolError, match="an endpoint is given"):
            await serve(lambda request: "here", endpoint=endpoint, **arguments)
        with pytest.raises(LocalProtocolError, match="an endpoint is given"):
            async with open_client(endpoint=endpoint, **arguments):
                pytest.fail("the client is open")


class Boom(BaseException):
    """What no handler should raise, and what stops the server."""


@pytest.mark.parametrize("is_async", [False, True])
async def test_one_error_comes_out_as_itself(is_async: bool, autojump_clock: MockClock) -> None:
    """Not in a group in a group."""

    def handler(request: Request) -> str:
        raise Boom("the handler")

    async def async_handler(request: Request) -> str:
        await trio.sleep(1)
        raise Boom("the handler")

    async with open_endpoint("127.0.0.1") as endpoint:
        client = Client(endpoint)
        errors: list[BaseException] = []

        async def run(task_status: trio.TaskStatus[Server]) -> None:
            try:
                await serve(async_handler if is_async else handler, "127.0.0.1", 0, task_status=task_status)
            except Boom as exc:
                errors.append(exc)

        async with trio.open_nursery() as nursery:
            server: Server = await nursery.start(run)
            with trio.move_on_after(5), suppress(NetworkError):  # Nobody is there any more.
                await client.get(server.uri)
    (error,) = errors
    assert (error.args, error.__cause__) == (("the handler",), None)


async def test_an_address_that_is_taken_is_an_error_of_the_system() -> None:
    async with open_endpoint("127.0.0.1") as endpoint:
        with pytest.raises(OSError, match="in use"):
            await serve(Site(), "127.0.0.1", endpoint.port)


async def test_a_handler_that_outlives_its_endpoint_sends_nothing(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    finished = []

    async def handler(request: Request) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        finished.append(request)
        return "too late"

    stages: list[tuple[Stage, int]] = []

    async def close_while_it_runs() -> None:
        async with open_stage(handler, coap_network) as stage:
            stage.send(make_request())
            await trio.sleep(1)
            stage.endpoint.close()
            stages.append((stage, stage.endpoint.statistics().tx_messages))
            await trio.sleep(10)

    with pytest.raises(ExceptionGroup) as caught:
        await close_while_it_runs()
    assert caught.group_contains(trio.ClosedResourceError, match="closed while it was served on")
    assert len(finished) == 1
    ((stage, sent),) = stages
    assert stage.endpoint.statistics().tx_messages == sent


async def test_requests_after_the_end_of_serving_are_reset(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with coap_network.open_endpoint("server", 5683) as endpoint:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_on, endpoint)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with open_peer(coap_network) as peer:
            peer.send(make_request(), endpoint.remote)
            assert (await peer.receive()).encode() == bytes.fromhex("70001234")


async def test_a_handlers_finally_can_still_send_when_all_is_cancelled(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    said = []

    async def handler(request: Request) -> str:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(1, shield=True):
                said.append((await Client(servers[0].endpoint).get("coap://origin/bye")).text)
        return "never"

    servers: list[Server] = []
    async with open_pair(lambda request: "good bye", network=coap_network, server="origin") as _:
        with trio.CancelScope() as scope:
            async with open_pair(handler, network=coap_network, client="c", server="s") as (asking, server):
                servers.append(server)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(asking.get, "/r")
                    await trio.sleep(1)
                    scope.cancel()
    assert said == ["good bye"]


async def test_closing_a_lent_endpoint_ends_the_server_and_its_handlers() -> None:
    endpoint = SocketEndpoint.create_bound_endpoint(host="127.0.0.1", port=0)
    running, ended = trio.Event(), trio.Event()

    async def handler(request: Request) -> None:
        running.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async def serve_and_see() -> None:
        with pytest.raises(trio.ClosedResourceError, match="closed while it was served on"):
            await serve(handler, endpoint=endpoint)

    async with run_endpoint(endpoint), open_client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(serve_and_see)
        await wait_all_tasks_blocked()
        async with client.request(Code.GET, endpoint.uri):
            await running.wait()
            endpoint.close()
            await ended.wait()
    assert ended.is_set()


@pytest.mark.parametrize(("host", "asked"), [("::", "coap://[::1]"), ("0.0.0.0", "coap://127.0.0.1")])
async def test_the_uri_of_a_server_on_all_addresses_can_be_asked(host: str, asked: str) -> None:
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(serve, lambda request: "here", host, 0)
        assert server.uri == f"{asked}:{server.endpoint.port}"
        async with open_client() as client:
            assert (await client.get(server.uri)).text == "here"
        nursery.cancel_scope.cancel()
