"""Which branches of the rooms that run without a loop are taken: measured while their own tests run.

``make test`` loads this plugin by name, in every process that runs tests.  Rule 1: it starts before the package is
imported, which its plugin for pytest does early, so that definitions count too.  Rule 2: a room is covered by the tests
that mirror it, not by what happens to pass through; so the rest of the run, which is most of it, is not slowed down.
Each process leaves a file, and ``coverage combine`` makes one of them.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from coverage import Coverage

HERE = Path(__file__).parent
ROOMS = (HERE / "wire", HERE / "messaging")

_coverage = Coverage(data_suffix=True)
_coverage.start()


class _Switch:
    """Whether it is measured now."""

    def __init__(self) -> None:
        self._is_on = True

    def turn(self, is_on: bool) -> None:
        if is_on == self._is_on:
            return
        if is_on:
            _coverage.start()
        else:
            _coverage.stop()
        self._is_on = is_on


_switch = _Switch()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Everything is imported.  A process that only hands out tests measures nothing from here on."""
    _switch.turn(False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure the tests of the rooms, with their fixtures."""
    _switch.turn(any(item.path.is_relative_to(room) for room in ROOMS))
    return (yield)


def pytest_unconfigure() -> None:
    """Keep what was measured."""
    _switch.turn(False)
    _coverage.save()
