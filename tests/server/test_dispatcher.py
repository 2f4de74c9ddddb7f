"""Handlers at work: where they run, when the answer goes out, and how many there may be."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Generator

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tests.server.stage import make_request, open_stage, with_option
from trio_coap import (
    ACK,
    CON,
    NON,
    RST,
    Block,
    Client,
    Code,
    Endpoint,
    Limits,
    Message,
    MessageType,
    NotFound,
    Request,
    Response,
    open_client,
    serve,
)
from trio_coap.server.outgoing import MAX_CONTENT, MAX_OPTION_HEADER
from trio_coap.testing import DROP, VirtualNetwork, open_pair


async def test_a_plain_function_runs_at_once_in_the_receive_task(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    tasks = set()

    def handler(request: Request) -> str:
        tasks.add(trio.lowlevel.current_task().name)
        return "plain"

    async with open_stage(handler, coap_network) as stage:
        assert (await stage.ask(make_request())).type is ACK
    assert len(tasks) == 1
    assert "receive_task" in tasks.pop()


async def test_an_async_function_runs_in_a_task_of_its_own(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    tasks = set()

    async def handler(request: Request) -> str:
        tasks.add(trio.lowlevel.current_task())
        await trio.sleep(1)
        return "async"

    async with open_stage(handler, coap_network) as stage:
        for number in range(3):
            stage.send(make_request(message_id=number, token=b"%d" % number))
        await trio.sleep(0.5)
        assert stage.server.dispatcher.running == 3
        await trio.sleep(1)
        assert stage.server.dispatcher.running == 0
    assert len(tasks) == 3


class Later:
    """An awaitable that is no coroutine."""

    def __await__(self) -> Generator[None, None, str]:
        pause = trio.sleep(1)  # noqa: ASYNC105 -- awaited by hand
        yield from pause.__await__()
        return "later"


async def test_a_handler_may_return_any_awaitable(autojump_clock: MockClock) -> None:
    async with open_pair(lambda request: Later()) as (client, _):
        assert (await client.get("/r")).text == "later"


async def test_a_quick_async_answer_is_piggybacked(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> str:
        await trio.sleep(0.09)
        return "quick"

    async with open_stage(handler, coap_network) as stage:
        request = make_request()
        answer = await stage.ask(request)
        assert (answer.type, answer.message_id) == (ACK, request.message_id)


async def test_a_slow_answer_is_preceded_by_an_empty_acknowledgement(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> str:
        await trio.sleep(5)
        return "slow"

    async with open_stage(handler, coap_network) as stage:
        request = make_request()
        started_at = trio.current_time()
        stage.send(request)
        assert (await stage.peer.receive()).encode() == bytes.fromhex("60001234")
        assert trio.current_time() - started_at == pytest.approx(0.102)
        answer = await stage.peer.receive()
        assert (answer.type, answer.token, answer.text) == (CON, request.token, "slow")
        assert trio.current_time() - started_at == pytest.approx(5.002)
        stage.peer.acknowledge(answer)
        assert await stage.peer.hears_nothing(300)


async def test_the_answer_to_a_non_confirmable_request_is_non_confirmable(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> str:
        await trio.sleep(5)
        return "slow"

    async with open_stage(handler, coap_network) as stage:
        stage.send(make_request(type=NON))
        answer = await stage.peer.receive()
        assert (answer.type, answer.token, answer.text) == (NON, b"tk", "slow")
        assert await stage.peer.hears_nothing(300)


async def test_a_duplicate_while_the_handler_runs_starts_no_other(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    calls = []

    async def handler(request: Request) -> str:
        calls.append(request)
        await trio.sleep(5)
        return "slow"

    async with open_stage(handler, coap_network) as stage:
        for _ in range(3):
            stage.send(make_request())
            await trio.sleep(1)
        acknowledgements = [(await stage.peer.receive()).encode() for _ in range(3)]
        assert acknowledgements == [bytes.fromhex("60001234")] * 3
        assert (await stage.peer.receive()).text == "slow"
    assert len(calls) == 1


async def test_a_handler_may_take_longer_than_its_request_is_remembered(autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> str:
        await trio.sleep(1000)
        return "at last"

    async with open_pair(handler) as (client, server):
        async with client.request(Code.GET, "/r") as handle:
            await trio.sleep(500)
            assert server.statistics().remotes == 0
            response = await handle.receive()
        assert (response.type, response.text) == (CON, "at last")
        await trio.sleep(300)
        assert server.statistics().remotes == 0


async def test_above_the_limit_of_running_handlers_clients_are_told_to_come_again(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    started = []

    async def handler(request: Request) -> str:
        started.append(request)
        await trio.sleep(5)
        return "done"

    async with open_stage(handler, coap_network, max_running_handlers=2) as stage:
        stage.send(make_request(message_id=1, token=b"1"))
        stage.send(make_request(message_id=2, token=b"2"))
        answer = await stage.ask(make_request(message_id=3, token=b"3"))
        assert (answer.code, answer.options.max_age) == (Code.SERVICE_UNAVAILABLE, 5)
        assert len(started) == 2
        assert stage.server.statistics().turned_away == {"max_running_handlers": 1}
        await trio.sleep(10)
        assert stage.server.dispatcher.running == 0
        stage.send(make_request(message_id=4))
        await trio.sleep(0.01)
        assert stage.server.dispatcher.running == 1


async def test_the_limit_holds_for_awaitables_that_are_no_coroutines(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    def handler(request: Request) -> Awaitable[str]:
        return Later()

    async with open_stage(handler, coap_network, max_running_handlers=1) as stage:
        stage.send(make_request(message_id=1, token=b"1"))
        assert (await stage.ask(make_request(message_id=2))).code is Code.SERVICE_UNAVAILABLE


async def test_plain_functions_are_not_limited(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async def slow(request: Request) -> str:
        await trio.sleep(5)
        return "slow"

    def handler(request: Request) -> str | Awaitable[str]:
        return slow(request) if request.payload else "plain"

    async with open_stage(handler, coap_network, max_running_handlers=1) as stage:
        stage.send(make_request(message_id=1, token=b"1", payload=b"slow"))
        assert (await stage.ask(make_request(message_id=2))).text == "plain"


@pytest.mark.parametrize(
    "response",
    [
        Response(Code.CONTENT, bytes(MAX_CONTENT + 1), block2=Block(0)),
        Response(Code.CONTENT, bytes(65_000), block2=Block(0), location_path=["x" * 250] * 3),
        Response(Code.CONTENT, location_path=["x" * 255] * 256),
    ],
    ids=["payload", "both", "options"],
)
async def test_a_response_too_large_for_a_datagram_is_an_error_of_ours(
    response: Response, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pair(lambda request: response) as (client, _):
        assert (await client.get("/r")).code is Code.INTERNAL_SERVER_ERROR
    assert "too many for a datagram" in caplog.text


async def test_a_response_with_too_many_options_is_an_error_of_ours(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_pair(lambda request: Response(Code.CONTENT, location_path=["x"] * 300)) as (client, _):
        assert (await client.get("/r")).code is Code.INTERNAL_SERVER_ERROR
    assert "at most 256 options" in caplog.text


async def test_a_response_that_just_fits_into_a_datagram(autojump_clock: MockClock) -> None:
    # The handler says that this is a block, and so it is not cut into smaller ones.
    size = MAX_CONTENT - MAX_OPTION_HEADER - 1
    async with open_pair(lambda request: Response(payload=bytes(size), block2=Block(0))) as (client, server):
        assert len((await client.get("/r")).payload) == size
        largest = max(len(record.octets) for record in server.endpoint.network.trace)  # type: ignore[attr-defined]
    assert 65_507 - 8 <= largest <= 65_507


async def test_a_response_with_no_room_in_the_queue_is_dropped_and_the_server_goes_on(
    coap_network: VirtualNetwork, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> str:
        await trio.sleep(1)
        return "slow"

    limits = Limits(max_pending_per_remote=1)
    async with open_pair(handler, network=coap_network, limits=limits) as (client, server):
        coap_network.script(dict.fromkeys(range(5, 100), DROP), source="client", destination="server")
        for number in range(4):  # What answers them is not acknowledged: one is outstanding, one waits.
            coap_network.inject(
                make_request(message_id=number, token=b"%d" % number),
                Endpoint(client.endpoint.sockaddr),
                Endpoint(server.endpoint.sockaddr),
            )
        await trio.sleep(2)
        assert server.statistics().turned_away["max_pending_per_remote"] == 2
        assert "a response was dropped" in caplog.text


async def test_the_client_that_resets_a_separate_response_ends_it(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> str:
        await trio.sleep(1)
        return "slow"

    async with open_stage(handler, coap_network) as stage:
        stage.peer.reset(await stage.ask(make_request()))
        assert await stage.peer.hears_nothing(300)


# The same endpoint as client and server.


async def test_a_handler_can_ask_its_client_from_the_servers_own_endpoint(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """RFC 7252 section 2: an endpoint may be client and server at the same time."""
    async with (
        coap_network.open_endpoint("a", 5683) as a,
        coap_network.open_endpoint("b", 5683) as b,
        open_client(endpoint=a) as from_a,
        open_client(endpoint=b) as from_b,
    ):

        async def ask_back(request: Request) -> str:
            assert isinstance(request.source_endpoint, Endpoint)
            answer = await from_b.get("/name", remote=request.source_endpoint)
            return f"hello {answer.text}"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(lambda request: "a", endpoint=a))
            nursery.start_soon(lambda: serve(ask_back, endpoint=b))
            await trio.testing.wait_all_tasks_blocked()
            assert (await from_a.get(f"{b.remote.uri}/hello")).text == "hello a"
            nursery.cancel_scope.cancel()
        ports = {(record.source.port, record.destination.port) for record in coap_network.trace}
        assert ports == {(5683, 5683)}


async def test_message_ids_and_tokens_of_both_directions_do_not_get_mixed_up(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Both sides use the same IDs and tokens at the same time; they are scoped to a direction (section 4.4)."""
    numbers = itertools.count()

    class Same:
        def uniform(self, a: float, b: float) -> float:
            return a

        def randrange(self, start: int) -> int:
            return 7

        def randbytes(self, n: int) -> bytes:
            return next(numbers).to_bytes(n, "big")

    async with (
        coap_network.open_endpoint("a", 5683, rng=Same()) as a,
        coap_network.open_endpoint("b", 5683, rng=Same()) as b,
        open_client(endpoint=a) as from_a,
        open_client(endpoint=b) as from_b,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(lambda: serve(lambda request: "a", endpoint=a))
        nursery.start_soon(lambda: serve(lambda request: "b", endpoint=b))
        results: list[str] = []

        async def ask(client: Client, uri: str) -> None:
            results.append((await client.get(uri)).text)

        async with trio.open_nursery() as askers:
            for _ in range(3):
                askers.start_soon(ask, from_a, b.remote.uri)
                askers.start_soon(ask, from_b, a.remote.uri)
        assert sorted(results) == ["a"] * 3 + ["b"] * 3
        nursery.cancel_scope.cancel()


async def test_a_request_where_nobody_serves_is_reset(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_stage(lambda request: "here", coap_network) as stage:
        stage.endpoint.request_listener = None
        stage.send(make_request())
        assert (await stage.peer.receive()).encode() == bytes.fromhex("70001234")


async def test_a_handlers_request_shows_who_asks_and_which_address_was_asked(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    requests: list[Request] = []
    coap_network.host("10.1.0.1", "10.1.0.2", name="server")
    async with open_pair(requests.append, network=coap_network) as (client, server):
        await client.get("coap://10.1.0.2/r")
        (request,) = requests
        assert request.source_endpoint is client.endpoint.remote  # type: ignore[attr-defined]
        assert request.destination_endpoint is server.endpoint
        assert request.local_address is not None
        assert request.local_address.hostinfo == "10.1.0.2"


async def test_what_goes_wrong_is_logged_once_by_the_dispatcher(
    coap_network: VirtualNetwork, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: Request) -> str:
        raise ValueError("no")

    async with open_stage(handler, coap_network) as stage:
        await stage.ask(make_request())
        stage.send(make_request())  # A duplicate.
        await stage.peer.receive()
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == [
        "trio_coap.server.outgoing"
    ]


async def test_a_reset_from_the_client_before_the_answer_does_no_harm(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(lambda request: "here", coap_network) as stage:
        stage.send(Message(type=RST, message_id=0x1234))
        assert (await stage.ask(make_request())).text == "here"


async def test_one_remote_cannot_take_all_places_of_the_others(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async def handler(request: Request) -> str:
        await trio.sleep(5)
        return "done"

    async with open_stage(handler, coap_network, max_running_handlers_per_remote=2) as stage:
        stage.send(make_request(message_id=1, token=b"1"))
        stage.send(make_request(message_id=2, token=b"2"))
        answer = await stage.ask(make_request(message_id=3, token=b"3"))
        assert (answer.code, answer.options.max_age) == (Code.SERVICE_UNAVAILABLE, 5)
        assert stage.server.statistics().turned_away == {"max_running_handlers_per_remote": 1}
        async with (
            coap_network.open_endpoint("another") as endpoint,
            open_client(endpoint=endpoint, base_uri=stage.server.uri) as other,
        ):
            assert (await other.get("/")).text == "done"
        stage.send(make_request(message_id=4))
        await trio.sleep(0.01)
        assert stage.server.dispatcher.running == 1


async def test_an_error_response_raised_in_a_nursery_of_the_handler_is_the_response(autojump_clock: MockClock) -> None:
    async def find() -> None:
        raise NotFound("not here")

    async def handler(request: Request) -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find)
        return "never"

    async with open_pair(handler) as (client, _):
        response = await client.get("/")
    assert (response.code, response.text) == (Code.NOT_FOUND, "not here")


@pytest.mark.parametrize("type", [CON, NON])
async def test_a_handler_that_fails_to_say_what_it_understands_does_not_end_the_server(
    type: MessageType, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    class Careless:
        def understands(self, request: Request) -> frozenset[int]:
            raise ValueError("no")

        def __call__(self, request: Request) -> str:
            return "here"

    async with open_stage(Careless(), coap_network) as stage:
        answer = await stage.ask(with_option(1, b"x", type=type))
        assert answer.code is Code.INTERNAL_SERVER_ERROR
        assert (await stage.ask(make_request(message_id=2))).text == "here"
