"""The fixture of the client's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.client.scene import Scene, open_scene
from trio_coap.testing import VirtualNetwork


@pytest.fixture
async def scene(coap_network: VirtualNetwork) -> AsyncIterator[Scene]:
    async with open_scene(coap_network) as opened:
        yield opened
