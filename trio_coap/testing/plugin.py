"""The plugin for pytest: a virtual network as a fixture.

pytest loads it in every run where this package is installed.  Rule 1: loading it imports nothing but pytest, neither Trio nor
any other part of this package; the fixture does.  Rule 2: the plugin works without pytest-trio; only the fixture needs it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trio_coap.testing.network import VirtualNetwork


def pytest_configure(config: pytest.Config) -> None:
    """Announce the marker."""
    config.addinivalue_line(
        "markers", "coap_network(seed=0, latency=0.001, loss=0.0, ...): what the network of `coap_network` is like"
    )


@pytest.fixture
async def coap_network(request: pytest.FixtureRequest) -> AsyncIterator[VirtualNetwork]:
    """A running :class:`~trio_coap.testing.VirtualNetwork`, as the marker ``coap_network`` wants it.

    With the fixture ``autojump_clock`` of pytest-trio, time passes as fast as the computer can.
    """
    from trio_coap.testing.network import open_network

    marker = request.node.get_closest_marker("coap_network")
    async with open_network(**(marker.kwargs if marker is not None else {})) as network:
        yield network
