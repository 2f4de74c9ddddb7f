"""What the methods of the client send, and what they return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio
from trio.testing import MockClock

from tests.client.support import open_peer, reply
from trio_coap import (
    ACK,
    CON,
    NON,
    Client,
    Code,
    LocalProtocolError,
    MessageType,
    NotFound,
    OptionFormat,
    Options,
    Request,
    Response,
    TransmissionParameters,
    TransmissionTimeout,
    UriError,
    open_client,
    register_option,
)
from trio_coap.testing import VirtualNetwork, open_pair
from trio_coap.wire import definitions

METHODS: dict[Code, Callable[[Client], Awaitable[Response]]] = {
    Code.GET: lambda client: client.get("/r"),
    Code.POST: lambda client: client.post("/r", b"\x01"),
    Code.PUT: lambda client: client.put("/r", b"\x01"),
    Code.DELETE: lambda client: client.delete("/r"),
    Code.FETCH: lambda client: client.fetch("/r", b"\x01"),
    Code.PATCH: lambda client: client.patch("/r", b"\x01"),
    Code.IPATCH: lambda client: client.ipatch("/r", b"\x01"),
}


class Recorder:
    """A handler that notes the requests."""

    def __init__(self, result: bytes | str | Response | tuple[Code, str] = b"") -> None:
        self.requests: list[Request] = []
        self.result = result

    def __call__(self, request: Request) -> bytes | str | Response | tuple[Code, str]:
        self.requests.append(request)
        return self.result

    def understands(self, request: Request) -> frozenset[int]:
        return frozenset({1, 5})  # If-Match and If-None-Match


@pytest.mark.parametrize("code", METHODS, ids=lambda code: code.name)
async def test_each_method_sends_its_code_and_payload(code: Code, autojump_clock: MockClock) -> None:
    recorder = Recorder(b"done")
    async with open_pair(recorder) as (client, _):
        response = await METHODS[code](client)
    (request,) = recorder.requests
    assert request.code is code
    assert request.type is CON
    assert request.options.uri_path == ("r",)
    assert request.payload == (b"" if code in (Code.GET, Code.DELETE) else b"\x01")
    assert response.payload == b"done"


@pytest.mark.parametrize("code", METHODS, ids=lambda code: code.name)
async def test_each_method_can_be_sent_by_request(code: Code, autojump_clock: MockClock) -> None:
    recorder = Recorder(b"done")
    async with open_pair(recorder) as (client, _), client.request(code, "/r", b"\x02") as handle:
        assert (await handle.receive()).payload == b"done"
        assert handle.request.code is code
    assert [(request.code, request.payload) for request in recorder.requests] == [(code, b"\x02")]


@pytest.mark.parametrize(
    ("payload", "given", "octets", "content_format"),
    [
        ("21 °C", None, "21 °C".encode(), 0),
        ("[]", 50, b"[]", 50),
        (b"\xff", None, b"\xff", None),
        (b"\xff", 42, b"\xff", 42),
        ("", None, b"", None),
    ],
)
async def test_a_text_is_sent_as_utf8_and_text_plain_unless_told_otherwise(
    payload: bytes | str,
    given: int | None,
    octets: bytes,
    content_format: int | None,
    autojump_clock: MockClock,
) -> None:
    recorder = Recorder()
    async with open_pair(recorder) as (client, _):
        await client.put("/r", payload, content_format=given)
    assert recorder.requests[0].payload == octets
    assert recorder.requests[0].options.content_format == content_format


async def test_options_are_given_by_keyword(autojump_clock: MockClock) -> None:
    recorder = Recorder()
    async with open_pair(recorder) as (client, _):
        await client.get(
            "/r?q=1", accept=50, if_match=(b"\x01", b"\x02"), if_none_match=True, options=Options(uri_query="r=2")
        )
    options = recorder.requests[0].options
    assert options.accept == 50
    assert options.if_match == (b"\x01", b"\x02")
    assert options.if_none_match
    assert options.uri_query == ("q=1", "r=2")


@pytest.fixture
def restored_table() -> Iterator[None]:
    """Forget what a test registers."""
    numbers, names = dict(definitions.DEFINITIONS), dict(definitions._BY_NAME)
    yield
    for table, before in ((definitions.DEFINITIONS, numbers), (definitions._BY_NAME, names)):
        table.clear()
        table.update(before)  # type: ignore[arg-type]
    for forget in definitions.WHEN_REGISTERED:
        forget()


async def test_own_options_are_given_by_keyword_once_registered(
    restored_table: None, autojump_clock: MockClock
) -> None:
    register_option(65_002, "Client-Test-Mode", OptionFormat.STRING)
    recorder = Recorder()
    async with open_pair(recorder) as (client, _):
        await client.get("/r", client_test_mode="fast")  # type: ignore[call-arg]
    assert recorder.requests[0].options.get("Client-Test-Mode") == "fast"


async def test_an_option_that_is_unknown_is_the_callers_mistake(autojump_clock: MockClock) -> None:
    async with open_pair(Recorder()) as (client, _):
        with pytest.raises(LocalProtocolError, match="no_such_option"):
            await client.get("/r", no_such_option=1)  # type: ignore[call-arg]
        assert client.endpoint.statistics().tx_messages == 0


async def test_a_code_that_is_no_method_is_the_callers_mistake(autojump_clock: MockClock) -> None:
    async with open_pair(Recorder()) as (client, _):
        with pytest.raises(LocalProtocolError, match="a method code"):
            client.request(Code.CONTENT, "/r")


async def test_a_non_confirmable_request_gets_its_response(autojump_clock: MockClock) -> None:
    recorder = Recorder("here")
    async with open_pair(recorder) as (client, server):
        response = await client.get("/r", confirmable=False)
        assert server.statistics().tx_messages == 1
    assert recorder.requests[0].type is NON
    assert (response.type, response.text) == (NON, "here")


async def test_a_lost_non_confirmable_request_waits_until_it_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_pair(Recorder(), loss=1.0) as (client, _):
        with trio.move_on_after(10_000) as scope:
            await client.get("/r", confirmable=False)
        assert scope.cancelled_caught
        assert client.endpoint.statistics().tx_messages == 1


@pytest.mark.parametrize(
    ("uri", "path", "query"),
    [
        ("/a/b?c=d&e", ("a", "b"), ("c=d", "e")),
        ("x", ("base", "x"), ()),
        ("../y", ("y",), ()),
        ("?z", ("base", "dir"), ("z",)),
    ],
)
async def test_a_relative_uri_is_relative_to_the_base_uri(
    uri: str, path: tuple[str, ...], query: tuple[str, ...], autojump_clock: MockClock
) -> None:
    recorder = Recorder()
    async with open_pair(recorder) as (client, server):
        opened = Client(client.endpoint, f"{server.endpoint.uri}/base/dir")
        await opened.get(uri)
    assert recorder.requests[0].options.uri_path == path
    assert recorder.requests[0].options.uri_query == query


async def test_a_relative_uri_without_a_base_uri_is_the_callers_mistake(coap_network: VirtualNetwork) -> None:
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with pytest.raises(UriError):
            await client.get("/r")
        assert endpoint.statistics().tokens == 0


async def test_a_base_uri_that_is_not_absolute_is_refused(coap_network: VirtualNetwork) -> None:
    async with coap_network.open_endpoint("client") as endpoint:
        with pytest.raises(UriError):
            async with open_client(endpoint=endpoint, base_uri="/r"):
                pytest.fail("the client is open")


@pytest.mark.parametrize("confirmable", [True, False])
async def test_a_request_can_be_sent_elsewhere_than_to_the_host_of_its_uri(
    confirmable: bool, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    recorder = Recorder("by proxy")
    async with open_pair(recorder, network=coap_network) as (client, server):
        remote = server.endpoint.network.outside_address(server.endpoint)  # type: ignore[attr-defined]
        response = await client.get("coap://nobody.example:61616/r", confirmable=confirmable, remote=remote)
    assert response.text == "by proxy"
    options = recorder.requests[0].options
    assert (options.uri_host, options.uri_port, options.uri_path) == ("nobody.example", 61616, ("r",))


async def test_a_relative_uri_is_relative_to_the_remote_without_a_base_uri(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network) as peer:
            async with client.request(Code.GET, "/r", remote=peer.remote):
                request = await peer.receive()
    assert list(request.options) == [(11, b"r")]


async def test_a_name_is_sent_as_uri_host_and_a_literal_is_not(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    recorder = Recorder()
    async with open_pair(recorder, network=coap_network) as (client, server):
        await client.get("coap://server/r")
        await client.get(f"{server.uri}/r")
    assert [request.options.uri_host for request in recorder.requests] == ["server", None]


async def test_an_error_code_does_not_raise_by_itself(autojump_clock: MockClock) -> None:
    async with open_pair(Recorder((Code.NOT_FOUND, "no lamp"))) as (client, _):
        response = await client.get("/r")
    assert response.code is Code.NOT_FOUND
    with pytest.raises(NotFound, match="no lamp") as info:
        response.raise_for_code()
    assert info.value.response is response


async def test_a_success_comes_back_from_raise_for_code(autojump_clock: MockClock) -> None:
    async with open_pair(Recorder('{"on": true}')) as (client, _):
        response = (await client.get("/r")).raise_for_code()
    assert response.json() == {"on": True}


async def test_parameters_hold_for_one_request(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network) as peer:
            quick = TransmissionParameters(ack_timeout=1, ack_random_factor=1, max_retransmit=1, empty_ack_delay=0.1)
            started_at = trio.current_time()
            with pytest.raises(TransmissionTimeout) as info:
                await client.get(f"{peer.uri}/r", parameters=quick)
            assert info.value.transmissions == 2
            assert trio.current_time() - started_at == pytest.approx(3)
            with pytest.raises(TransmissionTimeout) as info:
                await client.get(f"{peer.uri}/r")
            assert info.value.transmissions == 5


@pytest.mark.parametrize("type", [CON, NON])
async def test_the_request_knows_where_it_went_and_the_response_where_it_came_from(
    type: MessageType, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with coap_network.open_endpoint("client") as endpoint, open_client(endpoint=endpoint) as client:
        with open_peer(coap_network) as peer:
            async with client.request(Code.GET, peer.uri, confirmable=type is CON) as handle:
                request = await peer.receive()
                peer.send(reply(request, Response(Code.CONTENT), type=ACK if type is CON else NON))
                response = await handle.receive()
            assert handle.request.destination_endpoint is peer.remote
            assert response.source_endpoint is peer.remote
            assert response.destination_endpoint is endpoint
