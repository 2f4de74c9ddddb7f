"""Who may be sent how much (:rfc:`9175` section 2.4): responses must not make a server a weapon against a forged address.

=====================================================  ===================================================
a request from an unverified address                   what it gets
=====================================================  ===================================================
with an Echo value that we made for it                 the address is verified; then as any other
while the address has got more than it may             4.01 with Echo, before a handler runs
GET or FETCH, and the response is too large            4.01 with Echo, and the handler runs again (2.4)
another method, and the response is too large          4.01 with Echo; the response is kept for the repetition
the same once more, or no room to keep its response    4.01 with Echo, before a handler runs
a diagnostic that is too large                         the error without it
a notification                                         goes as a CON, until one is acknowledged
a second registration, beside one that it has          4.01 with Echo, before a handler runs
=====================================================  ===================================================

Rule 1: what counts is all that went to the address or waits for its turn, and all that came from it, for as long as
anything is known of it.  A duplicate that would be answered with too much is not, as it may be shorter than what it repeats.
But who loses a Confirmable response gets it again: NSTART lets no more than five datagrams go in MAX_TRANSMIT_WAIT.  Rule 2: a handler of an unsafe method runs once for
a request of the application: that its response is too large is known when the effect cannot be undone, and so the
repetition, which is the same but for message ID, token and Echo, gets that very response.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import final

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.remote import RemoteEndpointState
from trio_coap.server.echo import EchoPolicy, EchoValues
from trio_coap.server.ledger import Key, Ledger, LedgerLimits
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response
from trio_coap.wire.response_errors import Unauthorized

MAX_KEPT = 256
"""Kept responses: 16 MiB if each fills a datagram, beside those of handlers that run already.  Above it nobody loses more
than a round trip."""

MAX_WAITING = 64
"""Responses that wait for their turn at an unverified address, as NSTART demands; above it none is added, whatever their
size: to add that up costs time."""

OBSERVE = 1 + 3
"""Octets of an Observe option, which a response may get later."""

HEADER = 4 + 1
"""Octets of a message's header, and of the marker before its payload."""

_ECHO = 252
_SAFE = frozenset({Code.GET, Code.FETCH})
_UNLIMITED = 1 << 62


@final
class Verification:
    """Knows which addresses are verified, and withholds what others must not get.

    Attributes:
      values: makes Echo values.
      challenges: how many 4.01 with Echo were given out.
    """

    def __init__(self, policy: EchoPolicy, endpoint: DrivenEndpoint) -> None:
        """Start with no verified address.

        Args:
          policy: what unverified addresses may get.
          endpoint: gives the key of the Echo values.
        """
        self.values = EchoValues(endpoint.rng)
        self.challenges = 0
        self._policy = policy
        self._factor = policy.amplification_factor
        self._verified: OrderedDict[Endpoint, float] = OrderedDict()
        limits = LedgerLimits(MAX_KEPT, _UNLIMITED, MAX_KEPT, _UNLIMITED)
        self._kept: Ledger[list[Response]] = Ledger(limits, endpoint.parameters.exchange_lifetime)

    @property
    def addresses(self) -> int:
        """How many verified addresses are remembered."""
        return len(self._verified)

    def is_verified(self, remote: Endpoint, now: float) -> bool:
        """Return whether *remote* may get responses of any size."""
        if self._factor is None or remote.is_loopback:
            return True
        verified_at = self._verified.get(remote)
        if verified_at is None:
            return False
        if verified_at + self._policy.verified_lifetime <= now:
            del self._verified[remote]
            return False
        self._verified.move_to_end(remote)
        return True

    def add(self, remote: Endpoint, now: float) -> None:
        """Take into account that *remote* has shown that it receives at its address."""
        if self._factor is None or remote.is_loopback:
            return
        self._verified[remote] = now
        self._verified.move_to_end(remote)
        if len(self._verified) > self._policy.max_verified:
            self._verified.popitem(last=False)

    def challenge(self, remote: Endpoint, now: float) -> Unauthorized:
        """Return the error that asks *remote* to repeat its request with an Echo value."""
        self.challenges += 1
        return Unauthorized(echo=self.values.make(remote, now))

    def take_kept(self, request: Request, remote: Endpoint, now: float) -> Response | None:
        """Take an Echo value into account; return the response that is kept for *request*, if it is a repetition."""
        value = request.options.echo
        age = None if value is None else self.values.age(value, remote, now)
        if age is None or age > self._policy.value_lifetime:
            return None
        self.add(remote, now)
        if request.code in _SAFE or not len(self._kept):
            return None
        key = _key(request, remote)
        kept = self._kept.get(key, now)
        if kept is None:
            return None
        response = kept.pop(0)
        if not kept:
            self._kept.discard(key)
        return response

    def require(self, remote: Endpoint, now: float) -> None:
        """Let pass what only a verified address may do.

        Raises:
          Unauthorized: if *remote* is not verified.
        """
        if not self.is_verified(remote, now):
            raise self.challenge(remote, now)

    def require_budget(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        """Let *request* pass, if the handler may run before it is known how much it answers.

        Raises:
          Unauthorized: otherwise.
        """
        if self._factor is None:
            return
        state = entry.remote
        # The hot path: no look-up of the address as long as it has got little.
        has_budget = state.tx_octets + HEADER + len(request.token) <= self._factor * state.rx_octets
        if has_budget and (request.code in _SAFE or not len(self._kept)):
            return
        remote = state.endpoint
        if not self.is_verified(remote, now) and not (has_budget and self._has_room_for(request, remote, now)):
            raise self.challenge(remote, now)

    def check(
        self, response: Response, size: int, request: Request, entry: RcvdMessageCacheEntry, now: float
    ) -> Response:
        """Return *response* if it may be sent, and what is to be sent instead if not.

        Args:
          response: the response.
          size: how many octets of options and payload it has at most.
          request: what it answers.
          entry: the request's entry.
          now: the current time, in seconds.
        """
        if self._factor is None:
            return response
        state = entry.remote
        budget = self._factor * state.rx_octets - state.tx_octets - HEADER - len(request.token)
        if size <= budget and not state.sent_cache.by_id:
            return response  # The hot path: nothing waits there.
        remote, pending = state.endpoint, state.sent_cache.pending()
        if (size <= budget and not pending) or self.is_verified(remote, now):
            return response
        if pending:  # They were within the limit one by one.
            budget -= _UNLIMITED if len(pending) > MAX_WAITING else sum(len(entry.octets) for entry in pending)
            if size <= budget:
                return response
        payload = len(response.payload)
        around = len(response.options.encode()) + (0 if request.options.observe is None else OBSERVE)
        if around + payload <= budget:
            return response
        if not response.code.is_success and response.options.content_format is None:
            bare = response.replace(payload=b"")
            if around <= budget or response.options.echo is not None:
                return bare
        if request.code not in _SAFE:
            self._keep(response, request, remote, now)
        return self.challenge(remote, now).to_response()

    def may_repeat(self, state: RemoteEndpointState, octets: int, now: float) -> bool:
        """Return whether *octets* more may go to a remote endpoint, in answer to a duplicate."""
        if self._factor is None or state.tx_octets + octets <= self._factor * state.rx_octets:
            return True
        return self.is_verified(state.endpoint, now)

    def _has_room_for(self, request: Request, remote: Endpoint, now: float) -> bool:
        self._kept.expire(now)
        return len(self._kept) < MAX_KEPT and self._kept.get(_key(request, remote), now) is None

    def _keep(self, response: Response, request: Request, remote: Endpoint, now: float) -> None:
        key = _key(request, remote)
        # More than one only if two handlers ran on the same request at a time.
        kept = self._kept.get(key, now) or []
        kept.append(response)
        self._kept.put(key, kept, 0, now)


def _key(request: Request, remote: Endpoint) -> Key:
    """Return what a request and its repetition have in common."""
    options = tuple([item for item in request.options if item[0] != _ECHO])
    return remote, (request.code, options, sha256(request.payload).digest())
