"""Requests to a group, and what its members answer (RFC 7252 section 8), in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.client.support import assert_nothing_is_left
from tests.observing import cancel_at_every_await
from trio_coap import (
    CON,
    NON,
    Block,
    Client,
    Code,
    Endpoint,
    LocalProtocolError,
    NotFound,
    Options,
    Progress,
    Request,
    Response,
    Server,
    Site,
    open_client,
    serve,
)
from trio_coap.client import multicast
from trio_coap.client.multicast import GroupRequest
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.testing import VirtualEndpoint, VirtualNetwork
from trio_coap.wire.options import CRITICAL_PROBLEM

GROUP = "224.0.1.187"
URI = f"coap://{GROUP}/r"


@attrs.frozen
class Link:
    client: Client
    endpoint: VirtualEndpoint
    servers: list[Server]

    async def collect(
        self, seconds: float = 10, code: Code = Code.GET, uri: str = URI, **arguments: int
    ) -> list[Response]:
        """Return what comes in *seconds*."""
        came = []
        with trio.move_on_after(seconds):
            async with self.client.multicast(code, uri, **arguments) as responses:  # type: ignore[arg-type]
                async for response in responses:
                    came.append(response)
        return came


def named(name: str) -> Site:
    site = Site()
    site.get("/r")(lambda request: name)
    site.get("/empty")(lambda request: "")
    site.get("/long")(lambda request: (name * 2000).encode())
    site.get("/secret", answers_groups=False)(lambda request: "psst")
    return site


@asynccontextmanager
async def open_link(
    network: VirtualNetwork, count: int = 3, make_site: Callable[[str], Site] = named
) -> AsyncIterator[Link]:
    """Open a client and servers that are members of the group."""
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(network.open_endpoint("client"))
        endpoints = [
            await stack.enter_async_context(network.open_endpoint(f"server{number}", 5683)) for number in range(count)
        ]
        async with trio.open_nursery() as nursery, open_client(endpoint=own) as client:
            servers = []
            for number, endpoint in enumerate(endpoints):
                endpoint.join_group(GROUP)
                start = partial(serve, make_site(f"server{number}"), endpoint=endpoint)
                servers.append(await nursery.start(start))
            yield Link(client, own, servers)
            nursery.cancel_scope.cancel()


async def test_each_member_answers_once_with_its_address(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_link(coap_network) as link:
        came = await link.collect()
        assert sorted(response.text for response in came) == ["server0", "server1", "server2"]
        sources = {response.source_endpoint for response in came}
        assert sources == {
            server.endpoint.remote for server in link.servers if isinstance(server.endpoint, VirtualEndpoint)
        }
        assert {response.type for response in came} == {NON}


async def test_answers_are_spread_over_the_leisure(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """Section 8.2: at a random moment of DEFAULT_LEISURE, 5 s."""
    async with open_link(coap_network, 20) as link:
        moments = []
        started_at = trio.current_time()
        with trio.move_on_after(10):
            async with link.client.multicast(Code.GET, URI) as responses:
                async for _ in responses:
                    moments.append(trio.current_time() - started_at)
        assert len(moments) == 20
        assert max(moments) <= 5.1
        assert max(moments) - min(moments) > 2


@pytest.mark.parametrize(
    ("code", "path", "arguments"),
    [
        (Code.GET, "nowhere", {}),
        (Code.POST, "r", {}),
        (Code.GET, "empty", {}),
        (Code.GET, "secret", {}),
        (Code.GET, "secret", {"no_response": 0}),
        (Code.GET, "r", {"no_response": 2}),
        (Code.GET, ".well-known/core?rt=nothing", {}),
    ],
)
async def test_what_is_not_answered(
    code: Code, path: str, arguments: dict[str, int], coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_link(coap_network) as link:
        assert await link.collect(20, code, f"coap://{GROUP}/{path}", **arguments) == []


async def test_errors_are_answered_if_they_are_asked_for(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """RFC 7967 section 2.1: No-Response 0 asks for all of them."""
    async with open_link(coap_network) as link:
        came = await link.collect(20, Code.GET, f"coap://{GROUP}/nowhere", no_response=0)
        assert [response.code for response in came] == [Code.NOT_FOUND] * 3


async def test_a_resource_that_does_not_answer_groups_is_not_even_run(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    ran = []

    def make_site(name: str) -> Site:
        site = Site()
        site.post("/r", answers_groups=False)(lambda request: ran.append(name))
        return site

    async with open_link(coap_network, make_site=make_site) as link:
        await link.collect(20, Code.POST, no_response=0)
        assert ran == []
        assert (
            await link.client.post(f"{link.servers[0].uri}/r", remote=_remote(link.servers[0]))
        ).code is Code.CHANGED
        assert ran == ["server0"]


def _remote(server: Server) -> Endpoint:
    assert isinstance(server.endpoint, VirtualEndpoint)
    return server.endpoint.remote


async def test_long_answers_are_completed_by_unicast(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_link(coap_network) as link:
        came = await link.collect(20, uri=f"coap://{GROUP}/long")
        assert sorted(response.text for response in came) == [f"server{number}" * 2000 for number in range(3)]
        assert {response.options.block2 for response in came} == {None}


async def test_a_member_that_wants_an_echo_is_asked_again(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with coap_network.open_endpoint("client") as own, coap_network.open_endpoint("member", 5683) as member:
        client = Client(own)
        requests = []

        class Listener:
            def request_received(self, request: Request, entry: object, now: float) -> None:
                requests.append(request)
                is_fresh = request.options.echo == b"fresh"
                response = Response(Code.CONTENT, b"23") if is_fresh else Response(Code.UNAUTHORIZED, echo=b"fresh")
                entry.respond(response, now)  # type: ignore[attr-defined]

        member.join_group(GROUP)
        member.request_listener = Listener()
        async with client.multicast(Code.GET, URI) as responses:
            with trio.fail_after(20):
                assert (await responses.receive()).text == "23"
        assert [request.type for request in requests] == [NON, CON]


async def test_the_rest_of_a_long_answer_is_wanted_whatever_it_is(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """A No-Response option was for the group: a member that obeyed it would keep the consumer waiting."""
    requests: list[Request] = []

    class Listener:
        def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
            requests.append(request)
            is_first = len(requests) == 1
            response = Response(Code.CONTENT, b"x" * 64) if is_first else Response(Code.NOT_FOUND)
            if is_first:
                response.options = Options(block2=Block.of(0, True, 64))
            entry.respond(response, now)

    async with coap_network.open_endpoint("client") as own, coap_network.open_endpoint("member", 5683) as member:
        member.join_group(GROUP)
        member.request_listener = Listener()
        async with Client(own).multicast(Code.GET, URI, no_response=24) as responses:
            with trio.fail_after(20):
                assert (await responses.receive()).code is Code.NOT_FOUND
    assert [request.options.no_response for request in requests] == [24, None]


async def test_stragglers_are_taken_in_silence_until_the_token_is_free(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with coap_network.open_endpoint("client") as own, coap_network.open_endpoint("member", 5683) as member:
        client = Client(own)
        async with client.multicast(Code.GET, URI) as responses:
            token = responses.request.token
        late = Response(Code.CONTENT, b"late", type=CON)
        late.token = token
        sent = member.send(late, own.remote)
        await trio.sleep(1)
        assert sent.state.name == "COMPLETED"
        assert own.statistics().tokens == 1
        await trio.sleep(own.parameters.non_lifetime + own.parameters.max_latency + 250)
        assert own.statistics().tokens == 0
        await trio.sleep(300)
        assert_nothing_is_left(own)


async def test_a_member_that_answers_twice_counts_once(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with (
        coap_network.open_endpoint("client") as own,
        coap_network.open_endpoint("member", 5683) as member,
        Client(own).multicast(Code.GET, URI) as responses,
    ):
        for number in range(3):
            response = Response(Code.CONTENT, str(number), type=NON)
            response.token = responses.request.token
            member.send(response, own.remote)
        assert (await responses.receive()).text == "0"
        with trio.move_on_after(10):
            await responses.receive()
            raise AssertionError
        assert responses.responders == 1


async def test_a_response_that_cannot_be_processed_is_rejected(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with (
        coap_network.open_endpoint("client") as own,
        coap_network.open_endpoint("member", 5683) as member,
        Client(own).multicast(Code.GET, URI) as responses,
    ):
        for options in (Options([(65001, b"?")]), Options()):
            response = Response(Code.CONTENT, b"x", type=NON, options=options)
            response.token = responses.request.token
            member.send(response, own.remote)
        assert not (await responses.receive()).options
        assert own.statistics().rejected == {CRITICAL_PROBLEM: 1}


async def test_members_and_waiting_responses_are_bounded(
    coap_network: VirtualNetwork, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multicast, "MAX_RESPONDERS", 4)
    monkeypatch.setattr(multicast, "MAX_WAITING", 2)
    async with open_link(coap_network, 6) as link, link.client.multicast(Code.GET, URI) as responses:
        await trio.sleep(10)
        assert (responses.responders, responses.dropped) == (2, 4)
        for _ in range(2):
            await responses.receive()


async def test_group_and_members_have_no_message_id_in_common(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """To a member, the group request and one of its own come from the same endpoint (section 4.4)."""
    async with open_link(coap_network, 1) as link:
        remote = _remote(link.servers[0])
        link.endpoint.remote_state(remote)._next_message_id = 7
        link.endpoint.remote_state(Endpoint(host=GROUP))._next_message_id = 7
        async with link.client.multicast(Code.GET, URI) as responses:
            assert responses.request.message_id == 7
            assert (await link.client.get("/r", remote=remote)).text == "server0"
            assert (await responses.receive()).text == "server0"
        assert link.endpoint.next_message_id(remote) == 9


async def test_what_is_no_group_request(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_link(coap_network, 1) as link:
        with pytest.raises(LocalProtocolError, match="is no group"):
            async with link.client.multicast(Code.GET, "coap://10.0.0.1/r"):
                pass
        with pytest.raises(LocalProtocolError, match="Non-confirmable"):
            link.client.multicast(Code.GET, URI, confirmable=True)
        with pytest.raises(LocalProtocolError, match="observe its members"):
            link.client.multicast(Code.GET, URI, observe=0)
        with pytest.raises(LocalProtocolError, match="observe its members"):
            link.client.multicast(Code.GET, URI, options=Options(observe=0))
        with pytest.raises(LocalProtocolError, match="no progress of all"):
            link.client.multicast(Code.GET, URI, progress=Progress())
        with pytest.raises(LocalProtocolError, match="cannot choose interfaces"):
            async with link.client.multicast(Code.GET, URI, interfaces=["eth0"]):
                pass
        handle = link.client.multicast(Code.GET, URI)
        with pytest.raises(LocalProtocolError, match="before the request is entered"):
            await handle.receive()
        async with handle:
            with pytest.raises(LocalProtocolError, match="entered once"):
                await handle.__aenter__()


async def test_a_group_can_be_told(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """RFC 7967 section 2.1: "lights off", and nobody answers."""
    told = []

    def make_site(name: str) -> Site:
        site = Site()
        site.put("/r")(lambda request: told.append(name))
        return site

    async with open_link(coap_network, make_site=make_site) as link:
        assert await link.client.tell(Code.PUT, URI, "off", confirmable=False) is None
        await trio.sleep(10)
        assert sorted(told) == ["server0", "server1", "server2"]
        assert link.endpoint.statistics().rx_messages == 0


async def test_who_still_receives_when_another_task_leaves_is_told(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def wait(responses: GroupRequest) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await responses.receive()

    async with (
        open_link(coap_network, 0) as link,
        trio.open_nursery() as nursery,
        link.client.multicast(Code.GET, URI) as responses,
    ):
        nursery.start_soon(wait, responses)
        await wait_all_tasks_blocked()


async def test_closing_the_endpoint_ends_it(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async def wait(responses: GroupRequest) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await responses.receive()

    async with (
        open_link(coap_network, 0) as link,
        trio.open_nursery() as nursery,
        link.client.multicast(Code.GET, URI) as responses,
    ):
        nursery.start_soon(wait, responses)
        await wait_all_tasks_blocked()
        link.endpoint.close()


async def test_it_can_be_cancelled_at_any_await(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_link(coap_network, 2) as link:

        async def operation() -> None:
            await link.collect(uri=f"coap://{GROUP}/long")

        async def check() -> None:
            assert all(remote is None for remote, _ in link.endpoint.tokens), "only the group's token is reserved"
            await trio.sleep(600)
            assert_nothing_is_left(link.endpoint)

        for is_waiting in (True, False):
            assert await cancel_at_every_await(operation, check, is_waiting=is_waiting) >= 5


async def test_an_error_is_a_response_like_any_other(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_link(coap_network, 1) as link:
        (response,) = await link.collect(20, Code.GET, f"coap://{GROUP}/nowhere", no_response=0)
        with pytest.raises(NotFound):
            response.raise_for_code()
