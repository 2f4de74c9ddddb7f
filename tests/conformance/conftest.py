"""Each test of the tables, over the virtual network and over real sockets.

Rule: a test says once what must happen; ``over`` says where, ``virtual`` or ``real``.  The clock goes with it: the virtual
network has one that jumps, sockets have Trio's own.  pytest-trio wants the clock as an argument of the test itself, so each
test has it, and :func:`network` checks that it is the right one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

import pytest
from trio.abc import Clock
from trio.testing import MockClock

from tests.client.scene import Scene, open_scene
from tests.conformance.loopback import LoopbackNetwork
from tests.conformance.playing import Calls
from tests.conformance.tables import VIRTUAL_ONLY
from tests.patience import PATIENCE, SILENCE, time_is_virtual
from tests.server.stage import Stage, open_stage
from trio_coap import BlockLimits
from trio_coap.server import observer
from trio_coap.testing import VirtualNetwork
from trio_coap.testing.network import open_network


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let a test run over both, or say why it does not."""
    if "over" not in metafunc.fixturenames:
        return
    reason = VIRTUAL_ONLY.get(metafunc.function.__name__)
    bound = pytest.mark.timeout(2 * PATIENCE)
    real = pytest.mark.skip(reason=f"virtual only: {reason}") if reason is not None else bound
    metafunc.parametrize("over", ["virtual", pytest.param("real", marks=real)])


@pytest.fixture
def clock(over: str) -> Clock | None:
    """The clock that the test runs by; None for Trio's own."""
    return MockClock(autojump_threshold=0) if over == "virtual" else None


@pytest.fixture
async def network(over: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[VirtualNetwork]:
    """The network, or what stands in for it on real sockets."""
    assert time_is_virtual() == (over == "virtual"), "the test has the fixture 'clock' as an argument of its own"
    if over == "virtual":
        async with open_network() as virtual:
            yield virtual
    else:
        # RFC 7641 section 4.5.1 wants three seconds between Non-confirmable notifications.
        monkeypatch.setattr(observer, "NON_INTERVAL", SILENCE / 2)
        # It has what the stages use of a network, and nothing else.
        yield cast(VirtualNetwork, LoopbackNetwork())


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def stage(network: VirtualNetwork, calls: Calls) -> AsyncIterator[Stage]:
    async with open_stage(calls.site, network, block_limits=BlockLimits(max_body=100)) as opened:
        yield opened


@pytest.fixture
async def scene(network: VirtualNetwork) -> AsyncIterator[Scene]:
    async with open_scene(network) as opened:
        yield opened
