"""What a handler wants of block-wise transfer, and who is taken to say so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from trio_coap import BlockPolicy, Code, Request, block_policy
from trio_coap.server.policy import USUAL, policy_of

STREAMS = BlockPolicy(streams=True)


@block_policy(streams=True)
async def install(database: object, request: Request) -> None:
    """Read the body while it comes."""


class Store:
    """Handlers that are methods, and a handler that is an object."""

    @block_policy(streams=True)
    async def install(self, request: Request) -> None:
        """Read the body while it comes."""

    @block_policy(streams=True)
    async def __call__(self, request: Request) -> None:
        """Read the body while it comes."""

    async def write(self, request: Request) -> str:
        return "written"


@pytest.mark.parametrize(
    "handler",
    [install, partial(install, 1), partial(partial(install), 1), Store().install, Store(), partial(Store())],
    ids=["function", "partial", "partial of a partial", "method", "object", "partial of an object"],
)
def test_the_policy_of_a_function_holds_for_what_calls_it(handler: Callable[..., Any]) -> None:
    assert policy_of(handler) == STREAMS


@pytest.mark.parametrize("handler", [None, print, Store, Store().write, partial(Store().write)])
def test_who_says_nothing_has_the_usual_policy(handler: object) -> None:
    assert policy_of(handler) is USUAL


async def test_a_bound_method_can_be_given_a_policy() -> None:
    store = Store()
    handler = block_policy(streams=True)(store.write)
    assert policy_of(handler) == STREAMS
    assert policy_of(store.write) is USUAL
    assert await handler(Request(Code.PUT)) == "written"
