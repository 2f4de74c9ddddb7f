"""Handlers are cancelled when their client does not want the response any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.stage import Stage, make_request, open_stage
from trio_coap import NON, RST, Code, Endpoint, Message, Observable, Request
from trio_coap.server.running import RunningHandler, RunningHandlers
from trio_coap.server.workers import MAX_IDLE, Running, Workers
from trio_coap.testing import VirtualNetwork

ONE = Endpoint(("192.0.2.1", 5683))
OTHER = Endpoint(("192.0.2.2", 5683))


class Slow:
    """A handler that takes an hour, and says how it ended."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0

    async def __call__(self, request: Request) -> str:
        if request.payload:
            return "quick"
        self.started += 1
        try:
            await trio.sleep(3600)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return "slow"


@pytest.fixture
def slow() -> Slow:
    return Slow()


@asynccontextmanager
async def open_running(slow: Slow, network: VirtualNetwork) -> AsyncIterator[Stage]:
    """Serve *slow*, which works for the message 0x1234 with the token ``tk``, and has acknowledged it."""
    async with open_stage(slow, network) as stage:
        stage.send(make_request())
        assert (await stage.peer.receive()).is_empty
        assert stage.server.dispatcher.running == 1
        yield stage


async def is_cancelled(stage: Stage, slow: Slow) -> bool:
    """Return whether the handler was cancelled, and all is as if it had never run."""
    await trio.sleep(1)
    if not slow.cancelled:
        return False
    statistics = stage.server.statistics()
    assert (slow.cancelled, statistics.handlers_cancelled, statistics.running_handlers) == (1, 1, 0)
    assert await stage.peer.hears_nothing(4000)
    return True


async def test_deregistration(slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """RFC 7641 section 3.6."""
    async with open_running(slow, coap_network) as stage:
        assert (await stage.ask(make_request(message_id=2, token=b"tk", observe=1, payload=b"x"))).text == "quick"
        assert await is_cancelled(stage, slow)


async def test_deregistration_under_an_empty_token(
    slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(slow, coap_network) as stage:
        stage.send(make_request(token=b""))
        assert (await stage.peer.receive()).is_empty
        assert (await stage.ask(make_request(message_id=2, token=b"", observe=1, payload=b"x"))).text == "quick"
        assert await is_cancelled(stage, slow)


async def test_the_token_in_use_again(slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock) -> None:
    """RFC 7252 section 5.3.1: tokens in use between two endpoints are unique."""
    async with open_running(slow, coap_network) as stage:
        assert (await stage.ask(make_request(message_id=2, token=b"tk", payload=b"x"))).text == "quick"
        assert await is_cancelled(stage, slow)


async def test_a_reset_for_our_acknowledgement(
    slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_running(slow, coap_network) as stage:
        stage.send(Message(type=RST, message_id=0x1234))
        assert await is_cancelled(stage, slow)
        assert stage.server.statistics().rejected == {}


async def test_port_unreachable_for_our_acknowledgement(
    slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(slow, coap_network) as stage:
        stage.send(make_request())
        await trio.sleep(0.05)
        stage.peer.endpoint.close()  # Before our ACK is there.
        await trio.sleep(1)
        assert slow.cancelled == 1
        assert stage.server.dispatcher.running == 0
        assert stage.server.statistics().rejected == {}


async def test_port_unreachable_for_another_message_to_the_client(
    slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_running(slow, coap_network) as stage:
        stage.peer.endpoint.close()
        stage.endpoint.send(make_request(type=NON), stage.peer.remote)
        await trio.sleep(1)
        assert slow.cancelled == 1
        assert stage.server.dispatcher.running == 0


# What cancels nothing.


@pytest.mark.parametrize(
    "message",
    [
        make_request(),
        make_request(message_id=2, token=b"other", payload=b"x"),
        make_request(message_id=2, token=b"", payload=b"x"),
        make_request(message_id=2, token=b"other", observe=1, payload=b"x"),
        Message(type=RST, message_id=0x1235),
    ],
    ids=["duplicate", "another token", "empty token", "deregistration of another", "a Reset for nothing"],
)
async def test_what_cancels_nothing(
    message: Message, slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_running(slow, coap_network) as stage:
        stage.send(message)
        assert not await is_cancelled(stage, slow)
        assert slow.started == 1


async def test_requests_without_token_run_side_by_side(
    slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_stage(slow, coap_network) as stage:
        stage.send(make_request(message_id=1, token=b""))
        stage.send(make_request(message_id=2, token=b""))
        await trio.sleep(1)
        assert stage.server.dispatcher.running == 2


async def test_another_remote_cancels_nothing(
    slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_running(slow, coap_network) as stage:
        other = coap_network.create_bound_endpoint("other", 5683)
        for message in (make_request(message_id=2, token=b"tk", payload=b"x"), Message(type=RST, message_id=0x1234)):
            other.rawsendto(message.encode(), stage.endpoint.remote)
        assert not await is_cancelled(stage, slow)
        other.close()


@pytest.mark.parametrize("quoted", ["60001235", "6000", "6000123400", "40001234"])
async def test_an_error_that_quotes_what_was_not_sent_cancels_nothing(
    quoted: str, slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    async with open_running(slow, coap_network) as stage:
        refused = ConnectionRefusedError(111, "Connection refused")
        peer = stage.peer.remote
        assert not stage.endpoint.error_received(peer, bytes.fromhex(quoted), refused, trio.current_time())
        assert not await is_cancelled(stage, slow)


# Observers: a response that is rejected is a notification that is rejected.


async def test_a_reset_for_the_response_to_a_registration_ends_the_observation(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    state = Observable(lambda request: "state")
    async with open_stage(state, coap_network) as stage:
        await stage.ask(make_request(observe=0))
        assert len(state) == 1
        stage.send(Message(type=RST, message_id=0x1234))
        await trio.sleep(1)
        assert len(state) == len(stage.server.dispatcher.observers) == 0


async def test_a_registration_that_is_not_answered_yet_ends_with_its_handler(
    slow: Slow, coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    state = Observable(slow)
    async with open_stage(state, coap_network) as stage:
        stage.send(make_request(observe=0))
        assert (await stage.peer.receive()).is_empty
        assert (await stage.ask(make_request(message_id=2, token=b"tk", payload=b"x"))).code is Code.CONTENT
        assert await is_cancelled(stage, slow)
        assert len(state) == len(stage.server.dispatcher.observers) == 0


# The table.


class Crew:
    """The table with handlers that wait until they are let go, and note in which task they ran."""

    def __init__(self, nursery: trio.Nursery, max_in_all: int = 3, max_per_remote: int = 2) -> None:
        self.handlers = RunningHandlers(nursery, max_in_all, max_per_remote)
        self.may_end = trio.Event()
        self.tasks: list[trio.lowlevel.Task] = []
        self.seen: list[str] = []
        self.ended = 0

    def start(self, remote: Endpoint = ONE, request: Request | None = None) -> RunningHandler:
        running = RunningHandler(remote, request or make_request())
        self.handlers.start(running, self._run(running))
        return running

    async def _run(self, running: RunningHandler) -> None:
        self.tasks.append(trio.lowlevel.current_task())
        self.seen.append(VARIABLE.get())
        VARIABLE.set("changed")
        try:
            await self.may_end.wait()
            assert VARIABLE.get() == "changed"
            self.ended += 1
        finally:
            self.handlers.discard(running)


VARIABLE = ContextVar("VARIABLE", default="untouched")


@pytest.fixture
async def crew(nursery: trio.Nursery) -> Crew:
    return Crew(nursery)


async def test_the_table_is_empty_when_nothing_runs(crew: Crew) -> None:
    for remote in (ONE, ONE, OTHER):
        crew.start(remote)
    assert (len(crew.handlers), crew.handlers.find_limit(OTHER)) == (3, "max_running_handlers")
    crew.may_end.set()
    await wait_all_tasks_blocked()
    assert (len(crew.handlers), crew.ended) == (0, 3)
    assert crew.handlers.find_limit(ONE) is None
    assert not crew.handlers._by_remote
    assert not crew.handlers._by_token


async def test_one_remote_has_a_limit_of_its_own(crew: Crew) -> None:
    for _ in range(2):
        crew.start(ONE)
    assert crew.handlers.find_limit(ONE) == "max_running_handlers_per_remote"
    assert crew.handlers.find_limit(OTHER) is None


async def test_cancelling_twice_counts_once(crew: Crew) -> None:
    running = crew.start()
    crew.handlers.cancel(ONE)
    crew.handlers.cancel_token(ONE, b"tk")
    assert (running.is_cancelled, crew.handlers.cancelled) == (True, 1)
    await wait_all_tasks_blocked()
    assert (len(crew.handlers), crew.ended) == (0, 0)


async def test_only_the_handlers_of_the_token_are_cancelled(crew: Crew) -> None:
    meant, other = crew.start(), crew.start(request=make_request(message_id=2))
    crew.handlers.cancel_token(OTHER, b"tk")
    assert not meant.is_cancelled
    crew.handlers.cancel_token(ONE, b"tk")
    assert (meant.is_cancelled, other.is_cancelled) == (True, False)


async def test_all_handlers_with_an_empty_token_are_cancelled_together(crew: Crew) -> None:
    running = [crew.start(request=make_request(message_id=number, token=b"")) for number in (1, 2)]
    crew.handlers.cancel_token(ONE, b"")
    assert [one.is_cancelled for one in running] == [True, True]


async def test_a_task_takes_one_handler_after_the_other(crew: Crew, nursery: trio.Nursery) -> None:
    crew.may_end.set()
    for _ in range(5):
        crew.start()
        await wait_all_tasks_blocked()
    assert crew.ended == 5
    assert len(set(crew.tasks)) == 1


async def test_a_handler_has_its_context_variables_to_itself(crew: Crew) -> None:
    crew.may_end.set()
    for _ in range(2):
        crew.start()
        await wait_all_tasks_blocked()
    assert crew.seen == ["untouched"] * 2
    assert len(set(crew.tasks)) == 1


async def test_a_handler_has_the_context_variables_of_who_has_it_run(nursery: trio.Nursery) -> None:
    variable = ContextVar[str]("variable")
    workers, seen = Workers(nursery), []

    async def job() -> None:
        seen.append(variable.get())

    for value in ("first", "second"):
        variable.set(value)
        workers.start(Running(), job())
        await wait_all_tasks_blocked()
    assert (seen, workers.idle) == (["first", "second"], 1)


async def test_the_task_of_a_cancelled_handler_ends(crew: Crew) -> None:
    crew.start().cancel()
    await wait_all_tasks_blocked()
    crew.may_end.set()
    crew.start()
    await wait_all_tasks_blocked()
    assert (len(set(crew.tasks)), crew.ended) == (2, 1)


async def test_who_cancels_too_late_cancels_nothing(crew: Crew) -> None:
    crew.may_end.set()
    late = crew.start()
    await wait_all_tasks_blocked()
    crew.may_end = trio.Event()
    crew.start()
    await wait_all_tasks_blocked()
    assert len(set(crew.tasks)) == 1, "another handler runs in the task that ran the first one"
    late.cancel()
    crew.may_end.set()
    await wait_all_tasks_blocked()
    assert (late.is_cancelled, crew.ended) == (False, 2)


async def test_few_tasks_wait_when_nothing_runs(nursery: trio.Nursery) -> None:
    before = len(nursery.child_tasks)
    crew = Crew(nursery, 1000, 1000)
    for number in range(200):
        crew.start(request=make_request(message_id=number))
    await wait_all_tasks_blocked()
    assert len(nursery.child_tasks) - before == 200
    crew.may_end.set()
    await wait_all_tasks_blocked()
    assert (crew.ended, len(nursery.child_tasks) - before) == (200, MAX_IDLE)


async def test_waiting_tasks_end_with_the_server() -> None:
    async with trio.open_nursery() as nursery:
        crew = Crew(nursery)
        crew.may_end.set()
        crew.start()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert crew.ended == 1
    assert not crew.handlers.idle
