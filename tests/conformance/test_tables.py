"""Each row of the tables has its test, which runs over the virtual network and over real sockets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from tests.conformance import test_client, test_server, test_server_notifications
from tests.conformance.tables import ITEMS, ROWS, VIRTUAL_ONLY, WITHOUT_NETWORK

TESTS: dict[str, Callable[..., object]] = {
    name: value
    for module in (test_client, test_server, test_server_notifications)
    for name, value in vars(module).items()
    if name.startswith("test_")
}
TEXTS = {f"test_row_{name}": f"Row: {text}" for name, text in ROWS.items()} | {
    f"test_client_{name}": f"Client: {text}" for name, text in ITEMS.items()
}


@pytest.mark.parametrize("name", TEXTS)
def test_each_row_has_a_test_that_says_it(name: str) -> None:
    docstring = re.sub(r"\s+", " ", inspect.getdoc(TESTS[name]) or "")
    assert docstring.startswith(TEXTS[name])


@pytest.mark.parametrize("name", TESTS)
def test_each_test_runs_over_both_or_a_table_says_why_not(name: str) -> None:
    has_clock = "clock" in inspect.signature(TESTS[name]).parameters
    assert has_clock == (name not in WITHOUT_NETWORK)


def test_the_tables_of_exceptions_name_tests() -> None:
    assert (VIRTUAL_ONLY | WITHOUT_NETWORK).keys() <= TESTS.keys()
