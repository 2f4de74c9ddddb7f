"""What a handler wants of block-wise transfer.

Rule: a policy belongs to the function that it was said of, and holds for whatever calls nothing but that function: a
method that is bound to its object, a :func:`functools.partial`, an object whose ``__call__`` it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, TypeVar, cast

import attrs

from trio_coap.wire.errors import LocalProtocolError

F = TypeVar("F", bound=Callable[..., object])


@attrs.frozen
class BlockPolicy:
    """What one handler wants of block-wise transfer."""

    max_body: int | None = None
    """Octets of a request body that it takes; None for the server's :attr:`BlockLimits.max_body`."""

    sees_blocks: bool = False
    """True if it gets each block as a request of its own, and answers with Block options of its own."""

    streams: bool = False
    """True if it gets a :class:`StreamedRequest`, whose body it reads while it comes."""


def block_policy(*, max_body: int | None = None, sees_blocks: bool = False, streams: bool = False) -> Callable[[F], F]:
    """Return a decorator for handlers that want more than the usual of block-wise transfer.

    Example::

        @site.put("/firmware")
        @block_policy(max_body=64 * 1024 * 1024)
        def store(request): ...

    Args:
      max_body: octets of a request body that the handler takes, instead of the server's limit.
      sees_blocks: True to get each block as a request of its own, and answer it with Block options of one's own.
      streams: True to get a :class:`StreamedRequest`: the handler, an ``async def``, starts with the first block and
        reads the body while it comes, so that nobody holds it whole.  *max_body* is a limit for it as for others.

    Raises:
      LocalProtocolError: for a handler that is to see blocks and streams, or streams and is a generator: its response
        can only begin when the body of the request is whole, so that there is nothing it could read by then.
    """

    def set_policy(handler: F) -> F:
        if streams and (sees_blocks or inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler)):
            raise LocalProtocolError(f"{handler!r} cannot stream the request's body: it sees blocks, or is a generator")
        policy = BlockPolicy(max_body, sees_blocks, streams)
        try:
            handler.block_policy = policy  # type: ignore[attr-defined]
        except AttributeError:  # A bound method, say, is not ours to write on.
            return _with_policy(handler, policy)
        return handler

    return set_policy


USUAL = BlockPolicy()
"""Of handlers that say nothing."""


def policy_of(handler: object) -> BlockPolicy:
    """Return the policy of *handler*, :data:`USUAL` if it has none."""
    if type(handler) is FunctionType:  # Nearly all are, and asking for an attribute that is not there takes longer.
        policy = handler.__dict__.get("block_policy")
        return policy if isinstance(policy, BlockPolicy) else USUAL
    while True:
        policy = getattr(handler, "block_policy", None)
        if policy is None:
            policy = getattr(type(handler).__call__, "block_policy", None)
        if isinstance(policy, BlockPolicy):
            return policy
        if not isinstance(handler, partial):
            return USUAL
        handler = handler.func


def _with_policy(handler: F, policy: BlockPolicy) -> F:
    """Return something that calls *handler*, and can have a policy."""
    calling: Any = partial(handler)
    calling.block_policy = policy
    return cast(F, calling)
