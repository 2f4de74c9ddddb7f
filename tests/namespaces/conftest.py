"""Fixtures: hosts in network namespaces; skipped where none can be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.namespaces.network import Host

MakeHost = Callable[[], Host]


@pytest.fixture
def make_host() -> Iterator[MakeHost]:
    """Makes hosts; they go with the test."""
    with ExitStack() as stack:

        def make() -> Host:
            try:
                host = Host()
            except OSError as exc:
                pytest.skip(f"no network namespace can be made here ({exc}); run as root, or by unshare -rn")
            stack.callback(host.close)
            return host

        yield make


@pytest.fixture
def own_host(make_host: MakeHost) -> Iterator[Host]:
    """The host that the test itself is on."""
    host = make_host()
    with host.entered():
        yield host
