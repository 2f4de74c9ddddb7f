"""Sending a request to one address after the other, until one takes it (:rfc:`7252` section 5).

Rule 1: the token is entered before the message is sent; who ends the attempt drops it and completes the message's entry,
synchronously, so that nothing of it goes on.  Rule 2: an address that fails gives way to the next one, but a Reset comes
from somebody who is there: another address would be asked the same.  Rule 3: who made the attempt hears of responses, and
of the last failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, final

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError, ResetReceived
from trio_coap.messaging.local import LocalEndpoint, ResponseListener
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.messaging.sent import SentMessageCacheEntry
from trio_coap.wire.errors import LocalProtocolError, RemoteProtocolError
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import CRITICAL_PROBLEM, OptionProblem

UNDERSTOOD_OPTIONS = frozenset({23, 27})
"""The critical options in a response that are processed here or left to who asked: Block2 and Block1 (:rfc:`7252`
section 5.4.1).  An attempt is one exchange, and its response may be one block of many."""

FindTargets = Callable[[], Awaitable[Sequence[Request]]]
"""Finds out whom to ask: the request for each address, the preferred one first."""


class UnprocessableResponse(RemoteProtocolError):
    """A response has a critical option that cannot be processed (:rfc:`7252` section 5.4.1).

    Attributes:
      response: the response, which was rejected.
      problem: the option, and what is the matter with it.
    """

    def __init__(self, response: Response, problem: OptionProblem) -> None:
        super().__init__(f"the response {response.code} was rejected: {problem}")
        self.response = response
        self.problem = problem


class AttemptListener(ResponseListener, Protocol):
    """Who makes an attempt; called synchronously, and must not raise."""

    def request_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """The request has arrived; its response may still take its time."""

    def request_failed(self, error: Exception) -> None:
        """The request did not get through, at the last of the addresses."""


@final
class Attempt:
    """A request on its way to the first of its addresses that takes it.

    Attributes:
      request: as it was sent last; None before the first.
      entry: the request's entry in the message layer; None before the first, and where it failed at once.
    """

    __slots__ = (
        "_endpoint",
        "_key",
        "_listener",
        "_may_ask_groups",
        "_others",
        "_parameters",
        "_when_sent",
        "entry",
        "request",
    )

    def __init__(
        self,
        endpoint: LocalEndpoint,
        listener: AttemptListener,
        parameters: TransmissionParameters | None,
        *,
        when_sent: Callable[[Request], None] | None = None,
        may_ask_groups: bool = False,
    ) -> None:
        """Prepare an attempt; nothing is sent yet.

        Args:
          endpoint: which sends.
          listener: who makes the attempt.
          parameters: the transmission parameters of the request.
          when_sent: is called each time that congestion control has let the request go for the first time.
          may_ask_groups: whether it may go to a group, whose members answer from other addresses: those answers are not
            taken.
        """
        self.request: Request | None = None
        self.entry: SentMessageCacheEntry | None = None
        self._endpoint = endpoint
        self._listener = listener
        self._parameters = parameters
        self._when_sent = when_sent
        self._may_ask_groups = may_ask_groups
        self._others: Sequence[Request] = ()
        self._key: tuple[Endpoint | None, bytes] | None = None

    @property
    def is_listening(self) -> bool:
        """Whether responses are taken."""
        return self._key is not None

    @property
    def transmissions(self) -> int:
        """How often the request has been sent to the address that is being tried; 0 while it is held back."""
        return 0 if self.entry is None else self.entry.transmissions

    def start(self, targets: Sequence[Request]) -> None:
        """Send the request to the first address; those that fail at once are passed over.

        Args:
          targets: the request for each address, in the order in which they are to be tried.

        Raises:
          LocalProtocolError: if it cannot be sent at all; :meth:`end` is up to the caller.
        """
        request = targets[0]
        self._others = targets[1:]
        self._listen(request)
        self._send(request)

    def settle(self) -> None:
        """Stay with the address that is being tried, because it has answered."""
        self._others = ()

    def send_again(self, request: Request, now: float, *, with_new_token: bool = False) -> None:
        """Send *request*, which has not been sent yet, to the address that has answered.

        Args:
          request: its message ID and token are set here.
          now: the current time, in seconds.
          with_new_token: whether it gets a token of its own.

        Raises:
          LocalProtocolError: if it cannot be sent.
          trio.ClosedResourceError: if the endpoint has been closed.
        """
        self.complete(now)
        request.message_id = None
        if with_new_token:
            self._drop_token()
            self._listen(request)
        self._send(request, now)

    def complete(self, now: float) -> None:
        """Stop sending: the request has arrived, or is not wanted any more."""
        if self.entry is not None:
            self.entry.complete(now)

    def end(self, now: float | None = None) -> None:
        """Stop sending and listening; it may have ended before.

        Args:
          now: the current time, in seconds, for who knows it.
        """
        key = self._key
        if key is not None:
            self._key = None
            self._endpoint.tokens.pop(key, None)
        self._others = ()
        entry = self.entry
        # An entry that has not been completed has its listener, which is this attempt.
        if entry is not None and entry.listener is not None:
            entry.complete(self._endpoint.clock() if now is None else now)

    # What the engine says.

    def message_acknowledged(self, entry: SentMessageCacheEntry, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        self._listener.request_acknowledged(entry, now)

    def message_failed(self, entry: SentMessageCacheEntry, error: DeliveryError, now: float) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`: the next address is tried, if there is one."""
        if entry is not self.entry and self.entry is not None:
            return
        if not self._others or isinstance(error, ResetReceived):
            self._listener.request_failed(error)
            return
        self._drop_token()
        try:
            self.start(self._others)
        except LocalProtocolError as exc:
            # It is for who waits for the response; the engine, which calls, has others to serve.
            self._listener.request_failed(exc)

    def endpoint_closed(self) -> None:
        """See :class:`trio_coap.messaging.sent.SentListener`."""
        self._listener.endpoint_closed()

    def _listen(self, request: Request) -> None:
        endpoint, remote = self._endpoint, request.destination_endpoint
        assert isinstance(remote, Endpoint)
        if remote.is_multicast and not self._may_ask_groups:
            raise LocalProtocolError(
                f"{remote.hostinfo} is a group, whose members answer for themselves: multicast() asks it, by a "
                "Non-confirmable request (RFC 7252 section 8.1)"
            )
        request.token = token = endpoint.new_token(remote)
        self._key = key = (remote, token)
        endpoint.tokens[key] = self._listener

    def _send(self, request: Request, now: float | None = None) -> None:
        self.request = request
        self.entry = None
        key = self._key
        entry = self._endpoint.send(request, now=now, parameters=self._parameters, listener=self)
        # A send that failed at once has already gone on to the next address, or to the end.
        if self._key != key:
            return
        self.entry = entry
        when_sent = self._when_sent
        if when_sent is None:
            return
        if entry.transmissions:
            when_sent(request)
        else:
            entry.when_sent = partial(when_sent, request)

    def _drop_token(self) -> None:
        if self._key is not None:
            self._endpoint.tokens.pop(self._key, None)
            self._key = None


def reject_unprocessable(endpoint: LocalEndpoint, response: Response, now: float) -> UnprocessableResponse | None:
    """Return the error for a response with a critical option that is not known, and count it; None for any other."""
    problem = response.options.find_critical_problem(UNDERSTOOD_OPTIONS)
    if problem is None:
        return None
    source = response.source_endpoint
    assert source is not None
    endpoint.count_rejection(CRITICAL_PROBLEM, "5.4.1", source, str(problem), now=now)
    return UnprocessableResponse(response, problem)
