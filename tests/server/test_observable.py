"""What an application says about its resources, above all from within a handler that is asked for their state."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.server.observing import Stage, open_stage
from trio_coap import CON, NON, Code, NotificationPolicy, Observable, Request, Site
from trio_coap.testing import VirtualNetwork


class Refreshing:
    """Its handler finds out itself that the state has changed, and says so."""

    def __init__(self) -> None:
        self.value = 1
        self.changes_left = 0
        self.runs = 0
        self.observable = Observable(self.read)

    def read(self, request: object) -> str:
        self.runs += 1
        if self.changes_left:
            self.changes_left -= 1
            self.value += 1
            self.observable.notify()
        return str(self.value)


async def register(stage: Stage, observers: int) -> None:
    for n in range(observers):
        await stage.ask(0, n, token=bytes([n]))


async def test_a_handler_may_say_that_the_state_has_changed(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    refreshing = Refreshing()
    async with open_stage(refreshing.observable, coap_network) as stage:
        await register(stage, 3)
        refreshing.runs, refreshing.changes_left = 0, 1
        refreshing.observable.notify()
        assert [(await stage.receive_and_acknowledge()).text for _ in range(3)] == ["2"] * 3
        assert refreshing.runs == 3


async def test_who_was_asked_before_the_handler_said_so_is_asked_again(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    refreshing = Refreshing()
    async with open_stage(refreshing.observable, coap_network) as stage:
        await register(stage, 3)
        refreshing.runs, refreshing.changes_left = 0, 2
        refreshing.observable.notify()
        texts = [(await stage.receive_and_acknowledge()) for _ in range(4)]
        assert {response.token: response.text for response in texts} == {bytes([n]): "3" for n in range(3)}
        assert refreshing.runs == 4


async def test_a_handler_each_run_of_which_is_a_change_comes_to_an_end(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    refreshing = Refreshing()
    async with open_stage(refreshing.observable, coap_network) as stage:
        await register(stage, 40)
        refreshing.runs, refreshing.changes_left = 0, 1_000_000
        refreshing.observable.notify()
        assert refreshing.runs == 2 * 40


async def test_an_async_handler_that_says_so_is_not_asked_again_for_the_same_observer(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    runs = 0

    async def read(request: object) -> str:
        nonlocal runs
        runs += 1
        if runs > 1:
            observable.notify()
        return str(runs)

    observable = Observable(read)
    async with open_stage(observable, coap_network) as stage:
        await stage.ask(0)
        observable.notify()
        await wait_all_tasks_blocked()
        assert runs == 2
        assert (await stage.receive_and_acknowledge()).text == "2"
        observable.notify()
        await wait_all_tasks_blocked()
        assert runs == 3


async def test_a_change_from_elsewhere_while_an_async_handler_runs_counts(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """Even if the handler has said so itself before."""
    states = iter("1234")

    async def read(request: object) -> str:
        state = next(states)
        if state != "1":
            observable.notify()
            await trio.sleep(1)
        return state

    observable = Observable(read)
    async with open_stage(observable, coap_network) as stage:
        await stage.ask(0)
        observable.notify()
        await trio.sleep(0.5)
        observable.notify()
        assert (await stage.receive_and_acknowledge()).text == "2"
        assert (await stage.receive_and_acknowledge()).text == "3"
        assert await stage.peer.hears_nothing(100)


async def test_whose_observation_ends_meanwhile_is_not_asked(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    """A handler ends the observations while all observers are told of a change."""
    runs = 0

    def read(request: object) -> str:
        nonlocal runs
        runs += 1
        if runs == 4:
            observable.end()
        return str(runs)

    observable = Observable(read, NotificationPolicy())
    async with open_stage(observable, coap_network) as stage:
        await register(stage, 3)
        observable.notify()
        assert (runs, stage.observers) == (4, 0)


async def test_who_registers_again_for_another_path_is_told_of_that_one(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    site = Site()

    @site.get("/r/{number:int}", observable=True)
    def read(request: Request, number: int) -> str:
        return str(number)

    resource = site.resource("/r/{number:int}")
    async with open_stage(site, coap_network) as stage:
        for number in (1, 2):
            await stage.ask(0, number, path=f"r/{number}")
        resource.notify(number=1)
        assert await stage.peer.hears_nothing(10)
        resource.notify(number=2)
        assert (await stage.receive_and_acknowledge()).text == "2"


async def test_a_day_without_a_con_is_counted_from_the_last_one(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    observable = Observable(lambda request: "x", NotificationPolicy())
    async with open_stage(observable, coap_network) as stage:
        await stage.ask(0)
        await trio.sleep(20 * 3600)
        observable.notify()
        await stage.receive_and_acknowledge()
        told_at = trio.current_time()
        observable.policy = NotificationPolicy(confirmable=False, max_non=1000)
        for _ in range(3):
            await trio.sleep(3600)
            observable.notify()
            assert (await stage.receive()).type is NON
        assert (await stage.receive_and_acknowledge()).type is CON
        assert abs(trio.current_time() - told_at - 24 * 3600) < 1


async def test_handlers_of_notifications_run_in_tasks_that_go_on(
    coap_network: VirtualNetwork, autojump_clock: MockClock
) -> None:
    tasks = []

    async def read(request: Request) -> str:
        tasks.append(trio.lowlevel.current_task())
        await trio.lowlevel.checkpoint()
        return "x"

    observable = Observable(read)
    async with open_stage(observable, coap_network) as stage:
        await stage.ask(0)
        for _ in range(3):
            observable.notify()
            assert (await stage.receive_and_acknowledge()).code is Code.CONTENT
        assert len(tasks) == 4
        assert len(set(tasks)) == 1
