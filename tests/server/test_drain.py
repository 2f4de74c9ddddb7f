"""A server that comes to its end without losing anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.client.support import Peer, open_peer
from tests.server.stage import make_request
from trio_coap import (
    ACK,
    CON,
    NON,
    Block,
    Code,
    Endpoint,
    Message,
    NotificationPolicy,
    Observable,
    Request,
    Response,
    Server,
    StreamedRequest,
    block_policy,
    serve,
)
from trio_coap.testing import VirtualEndpoint, VirtualNetwork
from trio_coap.testing.pair import NO_CHALLENGES


@attrs.define
class Run:
    """A server, a peer, and whether the server has returned."""

    server: Server
    endpoint: VirtualEndpoint
    peer: Peer
    nursery: trio.Nursery
    returned: trio.Event
    drained: trio.Event = attrs.Factory(trio.Event)

    def send(self, message: Message) -> None:
        self.peer.send(message, self.endpoint.remote)

    async def ask(self, message: Message) -> Message:
        self.send(message)
        return await self.receive()

    async def receive(self) -> Message:
        with trio.fail_after(300):
            return await self.peer.receive()

    async def start_draining(self) -> None:
        async def drain() -> None:
            await self.server.drain(max_age=7)
            self.drained.set()

        self.nursery.start_soon(drain)
        await wait_all_tasks_blocked()

    async def is_over(self) -> bool:
        """Return whether the server is drained and has returned, at this instant."""
        await wait_all_tasks_blocked()
        assert self.drained.is_set() == self.returned.is_set()
        return self.drained.is_set()


@asynccontextmanager
async def open_run(handler: object, network: VirtualNetwork) -> AsyncIterator[Run]:
    returned = trio.Event()
    async with network.open_endpoint("server", 5683) as endpoint, trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
            await serve(handler, endpoint=endpoint, echo_policy=NO_CHALLENGES, task_status=task_status)  # type: ignore[arg-type]
            returned.set()

        server: Server = await nursery.start(start)
        with open_peer(network) as peer:
            yield Run(server, endpoint, peer, nursery, returned)
        nursery.cancel_scope.cancel()


async def slow(request: Request) -> str:
    if request.payload:
        return "quick"
    await trio.sleep(10)
    return "slow"


async def test_a_server_with_nothing_to_do_ends_at_once(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(slow, coap_network) as run:
        started_at = trio.current_time()
        await run.server.drain()
        await wait_all_tasks_blocked()
        assert run.returned.is_set()
        assert trio.current_time() == started_at
        await run.server.drain()  # Once more is fine.


async def test_from_the_first_step_on_there_are_no_new_requests(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(slow, coap_network) as run:
        run.send(make_request(message_id=1, token=b"1"))
        assert (await run.receive()).is_empty
        await run.start_draining()
        for type in (CON, NON):
            refused = await run.ask(make_request(message_id=2 + type, token=b"2", type=type, payload=b"x"))
            assert (refused.code, refused.options.max_age) == (Code.SERVICE_UNAVAILABLE, 7)
            assert refused.type is (ACK if type is CON else NON)


async def test_running_handlers_finish_and_their_responses_arrive(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(slow, coap_network) as run:
        run.send(make_request())
        assert (await run.receive()).is_empty
        await run.start_draining()
        assert not await run.is_over()
        lost = await run.receive()
        again = await run.receive()
        assert lost == again
        assert (again.type, again.text) == (CON, "slow")
        assert not await run.is_over()
        run.peer.acknowledge(again)
        await trio.sleep(0.1)
        assert await run.is_over()


async def test_a_response_that_is_on_its_way_already_is_waited_for(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(slow, coap_network) as run:
        run.send(make_request())
        assert (await run.receive()).is_empty
        response = await run.receive()
        await run.start_draining()
        assert not await run.is_over()
        run.peer.acknowledge(response)
        await trio.sleep(0.1)
        assert await run.is_over()


async def test_a_response_that_is_not_acknowledged_takes_no_other_one_with_it(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(slow, coap_network) as run:
        for number in range(2):
            run.send(make_request(message_id=number, token=b"%d" % number))
            assert (await run.receive()).is_empty
        for _ in range(5):
            assert (await run.receive()).token == b"0"
        assert (await run.receive()).token == b"1"


GROUP = Endpoint(host="224.0.1.187")


def ask_group(run: Run, *, payload: bytes = b"", message_id: int = 1) -> None:
    run.endpoint.join_group(GROUP.uri_host)
    run.peer.send(make_request(type=NON, message_id=message_id, payload=payload), GROUP)


async def test_a_response_to_a_group_request_goes_out_at_once_when_nothing_else_is_waited_for(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Its leisure would end when the server does; there is no reason to keep that waiting."""
    async with open_run(slow, coap_network) as run:
        for number in range(5):
            ask_group(run, payload=b"x", message_id=number)
        await trio.sleep(0.1)
        before = run.endpoint.statistics().tx_messages
        assert before < 5
        started_at = trio.current_time()
        await run.start_draining()
        assert await run.is_over()
        for _ in range(5):
            response = await run.receive()
            assert (response.type, response.text) == (NON, "quick")
        assert trio.current_time() - started_at < 1
        assert await run.peer.hears_nothing(300), "each once"
        assert run.endpoint.statistics().turned_away == {}


async def test_a_handler_that_answers_a_group_is_waited_for_but_not_its_leisure(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(slow, coap_network) as run:
        ask_group(run)
        await trio.sleep(1)
        started_at = trio.current_time()
        await run.start_draining()
        assert not await run.is_over()
        await run.drained.wait()
        assert trio.current_time() - started_at == pytest.approx(9, abs=0.1)
        assert (await run.receive()).text == "slow"


async def test_leisure_ends_early_for_nobody_as_long_as_something_else_is_waited_for(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(slow, coap_network) as run:
        ask_group(run, payload=b"x")
        run.send(make_request(type=NON, message_id=2, token=b"2"))
        await trio.sleep(0.01)
        due_in = [entry.respond_at for state in run.endpoint.states() for entry in state.rcvd_cache.all_entries()]
        (respond_at,) = [at for at in due_in if at is not None]
        await run.start_draining()
        assert (await run.receive()).text == "quick"
        assert trio.current_time() == pytest.approx(respond_at, abs=0.1)
        assert not await run.is_over()
        assert (await run.receive()).text == "slow"


async def test_a_response_to_a_group_request_that_waits_when_all_is_cancelled_is_dropped_and_counted(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    with trio.CancelScope() as scope:
        async with open_run(slow, coap_network) as run:
            ask_group(run, payload=b"x")
            await trio.sleep(0.01)
            scope.cancel()
            await trio.sleep_forever()
    assert run.endpoint.statistics().tx_messages == 0
    assert run.endpoint.statistics().turned_away == {"responses to group requests": 1}


async def test_observers_get_a_last_notification(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    state = Observable(lambda request: "state", NotificationPolicy(confirmable=False))
    async with open_run(state, coap_network) as run:
        for number in range(2):
            await run.ask(make_request(message_id=number, token=b"%d" % number, observe=0))
        await run.start_draining()
        assert (len(state), len(run.server.dispatcher.observers)) == (0, 0)
        for number in range(2):
            last = await run.receive()
            assert (last.type, last.code, last.token) == (CON, Code.SERVICE_UNAVAILABLE, b"%d" % number)
            assert (last.options.observe, last.options.max_age) == (None, 7)
            assert not await run.is_over()
            run.peer.acknowledge(last)
            await trio.sleep(0.1)
        assert await run.is_over()


@pytest.mark.parametrize("reply", ["a Reset", "nothing", "port unreachable"])
async def test_a_last_notification_that_fails_is_not_waited_for(
    reply: str, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    state = Observable(lambda request: "state")
    async with open_run(state, coap_network) as run:
        for number in range(3):  # Who is silent to one is not asked the others.
            await run.ask(make_request(message_id=number, token=b"%d" % number, observe=0))
        started_at = trio.current_time()
        if reply == "port unreachable":
            run.peer.endpoint.close()
        await run.start_draining()
        if reply == "a Reset":
            for _ in range(3):
                run.peer.reset(await run.receive())
        await run.drained.wait()
        assert await run.is_over()
        assert trio.current_time() - started_at < (100 if reply == "nothing" else 1)


async def test_who_is_just_registering_gets_a_plain_response(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    state = Observable(slow)
    async with open_run(state, coap_network) as run:
        run.send(make_request(observe=0))
        assert (await run.receive()).is_empty
        await run.start_draining()
        assert len(state) == 0
        lost = await run.receive()
        assert not await run.is_over()
        response = await run.receive()
        assert response == lost
        assert (response.text, response.options.observe) == ("slow", None)
        run.peer.acknowledge(response)
        await trio.sleep(0.1)
        assert await run.is_over()


async def test_there_are_no_more_blocks(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async def handler(request: Request) -> str:
        if request.payload == b"wait":
            await trio.sleep(100)
        return "x" * 3000

    async with open_run(handler, coap_network) as run:
        first = await run.ask(make_request(message_id=1, token=b"1"))
        assert first.options.block2 == Block(0, True, 6)
        block = Block(0, True, 0)
        started = await run.ask(make_request(code=Code.PUT, message_id=2, payload=bytes(16), block1=block))
        assert started.code is Code.CONTINUE
        run.send(make_request(message_id=3, token=b"3", payload=b"wait"))
        await run.receive()
        await run.start_draining()
        later = await run.ask(make_request(message_id=4, token=b"4", block2=Block(1, False, 6)))
        assert later.code is Code.SERVICE_UNAVAILABLE
        block = Block(1, False, 0)
        upload = await run.ask(make_request(code=Code.PUT, message_id=5, payload=bytes(16), block1=block))
        assert upload.code is Code.SERVICE_UNAVAILABLE


def make_block(number: int, more: bool, **options: object) -> Request:
    block = Block(number, more, 0)
    return make_request(code=Code.PUT, message_id=100 + number, payload=bytes(16), block1=block, **options)  # type: ignore[arg-type]


@block_policy(streams=True)
async def measure(request: Request) -> str:
    assert isinstance(request, StreamedRequest)
    octets = 0
    async for chunk in request.stream():
        octets += len(chunk)
    return f"{octets}"


async def test_what_a_handler_reads_while_it_comes_comes_to_its_end(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(measure, coap_network) as run:
        assert (await run.ask(make_block(0, True))).code is Code.CONTINUE
        await run.start_draining()
        for other in (make_request("other", message_id=1), make_block(5, True, path="other")):
            assert (await run.ask(other)).code is Code.SERVICE_UNAVAILABLE
        assert (await run.ask(make_block(1, True))).code is Code.CONTINUE
        await trio.sleep(100)
        assert not await run.is_over()
        last = await run.ask(make_block(2, False))
        assert (last.code, last.payload) == (Code.CHANGED, b"48")
        assert await run.is_over()


async def test_an_upload_that_begins_again_is_a_new_request(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(measure, coap_network) as run:
        await run.ask(make_block(0, True))
        await run.ask(make_block(1, True))
        await run.start_draining()
        again = make_block(0, True)
        again.message_id = 1
        assert (await run.ask(again)).code is Code.SERVICE_UNAVAILABLE
        assert (await run.ask(make_block(2, False))).payload == b"48"
        assert await run.is_over()


async def test_an_upload_whose_client_is_silent_is_waited_for_as_long_as_ever(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(measure, coap_network) as run:
        await run.ask(make_block(0, True))
        await run.start_draining()
        await trio.sleep(240)
        assert not await run.is_over()
        await trio.sleep(10)
        assert await run.is_over()


async def test_cancelling_ends_uploads_too(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_run(measure, coap_network) as run:
        await run.ask(make_block(0, True))
        with trio.move_on_after(5) as scope:
            await run.server.drain()
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert run.returned.is_set()
        assert len(run.server.blockwise.uploads) == 0


async def test_a_duplicate_is_still_answered_as_before(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    async with open_run(slow, coap_network) as run:
        request = make_request(message_id=1, token=b"1", payload=b"x")
        first = await run.ask(request)
        run.send(make_request())
        await run.receive()
        await run.start_draining()
        assert await run.ask(request) == first


async def test_cancelling_ends_the_server_at_once(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    cancelled = []

    async def handler(request: Request) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled.append(request)
            raise

    async with open_run(handler, coap_network) as run:
        run.send(make_request())
        assert (await run.receive()).is_empty
        started_at = trio.current_time()
        with trio.move_on_after(3) as scope:
            await run.server.drain()
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert run.returned.is_set()
        assert len(cancelled) == 1
        assert trio.current_time() - started_at == 3


async def test_two_callers_wait_for_the_same_end(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    ended = []

    async with open_run(slow, coap_network) as run:

        async def drain(name: str) -> None:
            await run.server.drain()
            ended.append((name, trio.current_time()))

        run.send(make_request(type=NON))
        await trio.sleep(1)
        started_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, "one")
            await trio.sleep(2)
            nursery.start_soon(drain, "two")
        assert sorted(name for name, _ in ended) == ["one", "two"]
        assert [at - started_at for _, at in ended] == [pytest.approx(9.0, abs=0.1)] * 2


async def test_the_first_caller_that_is_cancelled_ends_the_server_for_all(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_run(slow, coap_network) as run:
        run.send(make_request())
        await run.receive()
        await run.start_draining()
        with trio.move_on_after(1):
            await run.server.drain()
        assert await run.is_over()


async def test_closing_the_endpoint_ends_the_draining(coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    endpoint = coap_network.create_bound_endpoint("closing", 5683)
    state = Observable(lambda request: "state")
    raised = trio.Event()

    async def serve_and_see(task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await serve(state, endpoint=endpoint, task_status=task_status)
        raised.set()

    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(serve_and_see)
        server.dispatcher._deliveries._entries[object()] = None  # type: ignore[index]
        nursery.start_soon(server.drain)
        await wait_all_tasks_blocked()
        assert not raised.is_set()
        endpoint.close()
        with trio.fail_after(1):
            await raised.wait()


async def test_a_server_of_its_own_closes_its_endpoint() -> None:
    async with trio.open_nursery() as nursery:
        server: Server = await nursery.start(serve, lambda request: "here", "127.0.0.1", 0)
        await server.drain()
    assert server.endpoint.is_closed


async def test_the_response_that_was_withheld_is_still_given_out(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    from trio_coap.server.echo import DEFAULT_ECHO_POLICY

    def handler(request: Request) -> Response | object:
        return slow(make_request()) if request.payload == b"slow" else "x" * 500

    async with coap_network.open_endpoint("server", 5683) as endpoint, trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED) -> None:
            await serve(handler, endpoint=endpoint, echo_policy=DEFAULT_ECHO_POLICY, task_status=task_status)  # type: ignore[arg-type]

        server: Server = await nursery.start(start)
        with open_peer(coap_network) as peer:
            peer.send(make_request(code=Code.POST, message_id=1), endpoint.remote)
            echo = (await peer.receive()).options.echo
            peer.send(make_request(message_id=2, token=b"2", payload=b"slow"), endpoint.remote)
            assert (await peer.receive()).is_empty
            nursery.start_soon(server.drain)
            await wait_all_tasks_blocked()
            peer.send(make_request(code=Code.POST, message_id=3, echo=echo), endpoint.remote)
            assert (await peer.receive()).text == "x" * 500
        nursery.cancel_scope.cancel()
