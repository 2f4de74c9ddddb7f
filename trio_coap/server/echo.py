"""Echo values: that a request was sent a moment ago, by somebody who receives at its address (:rfc:`9175` section 2).

Rule 1: nothing is remembered of a value: it holds the time at which it was made, and a code that authenticates that
time and the address it was made for, under a key of the server's own.  Rule 2: a value can be used as often as one likes
until it is too old; how old that is, is for who asks: each resource has its own idea of freshness.  Rule 3: a value is
short, 12 octets, so that a 4.01 with it is less than three times as long as nearly every request.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar, final, runtime_checkable

import attrs

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.local import LocalEndpoint, RandomSource
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Request
from trio_coap.wire.response_errors import Unauthorized

KEY_LENGTH = 32
"""Octets of the key: as many as the hash function has."""

CODE_LENGTH = 8
"""Octets of the authentication code: whoever sends guesses over a network does not get through 2^64 of them."""

_TIME_LENGTH = 4
_TICKS = 16
"""Per second: that leaves eight years until a time comes again."""
_PERIOD = (1 << 8 * _TIME_LENGTH) // _TICKS

FRESH_WITHIN = 60.0
"""What counts as fresh where nobody says otherwise, in seconds: a request and its repetitions take no longer."""

MAX_VERIFIED = 10_000
"""Addresses known to be their owners': some 200 octets each; who falls out of the table is challenged once more."""

VERIFIED_LIFETIME = 24 * 3600.0
"""Seconds for which an address counts as verified: as long as one may be notified without confirming anything."""

P = ParamSpec("P")
R = TypeVar("R")


@final
@attrs.frozen
class EchoPolicy:
    """How a server treats addresses that may be forged (:rfc:`9175` section 2.4).

    A response that would make it send more than *amplification_factor* times the octets that it received from an
    unverified address is withheld: the client gets a 4.01 with an Echo option, and the response when it repeats its
    request with that option.  An address is verified by that, by acknowledging a message of ours, or by answering a
    request of ours.  Loopback addresses count as verified: nobody outside this host can send from them.

    Raises:
      LocalProtocolError: if a value is out of its range.
    """

    amplification_factor: float | None = 3.0
    """None to send responses of any size to anybody: where every address is known to be genuine."""

    value_lifetime: float = FRESH_WITHIN
    """Seconds for which an Echo value verifies the address that it was made for."""

    verified_lifetime: float = VERIFIED_LIFETIME
    """Seconds for which an address stays verified."""

    max_verified: int = MAX_VERIFIED
    """How many verified addresses are remembered; the one that was not heard of for longest makes room."""

    def __attrs_post_init__(self) -> None:
        factor = self.amplification_factor
        if factor is not None and factor < 1:
            raise LocalProtocolError(f"amplification_factor is at least 1, or None, not {factor}")
        for name in ("value_lifetime", "verified_lifetime", "max_verified"):
            value = getattr(self, name)
            if value <= 0:
                raise LocalProtocolError(f"{name} is positive, unlike {value}")


DEFAULT_ECHO_POLICY = EchoPolicy()


@final
class EchoValues:
    """Makes values for Echo options, and recognizes them."""

    def __init__(self, rng: RandomSource) -> None:
        """Make and recognize values under a key from *rng*, which is drawn when it is needed first."""
        self._rng = rng
        self._key = b""

    def make(self, remote: Endpoint, now: float) -> bytes:
        """Return a value for *remote* that says that it is *now* (seconds)."""
        time = int(now * _TICKS) % (1 << 8 * _TIME_LENGTH)
        octets = time.to_bytes(_TIME_LENGTH, "big")
        return octets + self._authenticate(octets, remote)

    def age(self, value: bytes, remote: Endpoint, now: float) -> float | None:
        """Return how long ago *value* was made, in seconds, rounded up; None if we did not make it for *remote*."""
        octets, code = value[:_TIME_LENGTH], value[_TIME_LENGTH:]
        if not hmac.compare_digest(code, self._authenticate(octets, remote)):
            return None
        return (now - int.from_bytes(octets, "big") / _TICKS) % _PERIOD

    def _authenticate(self, octets: bytes, remote: Endpoint) -> bytes:
        if not self._key:
            self._key = self._rng.randbytes(KEY_LENGTH)
        return hmac.digest(self._key, octets + remote.uri.encode(), "sha256")[:CODE_LENGTH]


@runtime_checkable
class Challenging(Protocol):
    """Who serves requests, and can tell how fresh they are."""

    def age_of(self, request: Request) -> float | None:
        """Return how long ago the Echo value in *request* was made, in seconds; None if there is none of ours."""

    def challenge(self, request: Request) -> Unauthorized:
        """Return the 4.01 with an Echo value for the client that sent *request*."""


def require_fresh(request: Request, *, within: float = FRESH_WITHIN) -> None:
    """Go on only if the client has sent *request* a moment ago (:rfc:`9175` section 2.3).

    A request may have been held back on its way, to unlock a door when its owner is gone.  To be called by a handler
    before it does anything; the client gets a 4.01 with an Echo option otherwise, and repeats its request with that.  Of a
    body that comes in blocks, the last or the first one has the option.

    Example::

        @site.put("/lock")
        async def unlock(request):
            require_fresh(request, within=5)
            await door.unlock()

    Only with a security layer does it say who sent the request.  A resource that can be observed better demands it of
    unsafe methods alone: each notification is an answer to the registration, which is not fresh for long.

    Args:
      request: what the handler got.
      within: the age that is still fresh, in seconds.

    Raises:
      Unauthorized: if the request has no Echo value of this server, or one that is too old; to be let pass.
      LocalProtocolError: if no server has received the request, or it serves no more.
    """
    local = request.destination_endpoint
    server = local.request_listener if isinstance(local, LocalEndpoint) else None
    if not isinstance(server, Challenging):
        raise LocalProtocolError(f"no server that can tell how fresh it is has received {request!r}")
    age = server.age_of(request)
    if age is None or age > within:
        raise server.challenge(request)


def fresh(
    *, within: float = FRESH_WITHIN
) -> Callable[[Callable[Concatenate[Request, P], R]], Callable[Concatenate[Request, P], R]]:
    """Return a decorator for handlers that run for fresh requests only; see :func:`require_fresh`.

    Example::

        @site.put("/lock")
        @fresh(within=5)
        async def unlock(request): ...

    Args:
      within: the age that is still fresh, in seconds.
    """

    def decorate(handler: Callable[Concatenate[Request, P], R]) -> Callable[Concatenate[Request, P], R]:
        @functools.wraps(handler)
        def handle_if_fresh(request: Request, /, *args: P.args, **kwargs: P.kwargs) -> R:
            require_fresh(request, within=within)
            return handler(request, *args, **kwargs)

        return handle_if_fresh

    return decorate
