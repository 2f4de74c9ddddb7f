"""A transfer: one request of the application, in as many exchanges as its bodies need (:rfc:`7959`).

Rule 1: what an exchange is, :class:`Exchange` knows; here it is known which one comes next.  Rule 2: all blocks go to
the address that answered the first.  Rule 3: between two exchanges nothing is under way, so that cancelling leaves nothing.
Rule 4: a challenge (4.01 with an Echo, :rfc:`9175` section 2.3) is answered once; a second one in a row is the response.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import final

import attrs

from trio_coap.client.backpressure import Backpressure
from trio_coap.client.exchange import Exchange
from trio_coap.messaging.local import LocalEndpoint
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.wire.codes import Code
from trio_coap.wire.definitions import encode_uint
from trio_coap.wire.errors import RemoteProtocolError
from trio_coap.wire.message import Request, Response
from trio_coap.wire.options import Options

MAX_BODY = 16 * 1024 * 1024
"""Octets of a response body that are put together unless the caller says otherwise: a server must not be able to fill the
client's memory, and who expects more reads it as a stream."""

MAX_RESTARTS = 3
"""How often a download starts again because the representation changed meanwhile: one that changes faster than it can be
read would keep the client busy for ever."""

MAX_BLOCK_SIZE = 1024
"""The largest block over datagrams, in octets (:rfc:`7959` section 2.2)."""

ECHO = 252
"""The number of the Echo option."""

Follow = Callable[[Response], tuple[bytes, Options] | None]
"""Says which request follows a response, by payload and options; None if that is for who waits."""

NO_OPTIONS = Options()
NOTHING: frozenset[int] = frozenset()


class BlockTransferError(RemoteProtocolError):
    """A body could not be transferred, because the peer's blocks do not fit together.

    Attributes:
      response: the response that shows it.
    """

    def __init__(self, message: str, response: Response) -> None:
        super().__init__(message)
        self.response = response


class RepresentationChanged(BlockTransferError):
    """The representation changed while it was read, more often than the client begins again (:rfc:`7959` section 2.4)."""


class BodyTooLarge(BlockTransferError):
    """The body of a response is larger than the caller takes."""


@final
@attrs.define(eq=False)
class Progress:
    """How far a transfer has got; to be read at any time, from any task.

    Make one, give it to a request as *progress*, and look at it.
    """

    sent: int = 0
    """Octets of the request's body that the server has answered for."""

    to_send: int | None = None
    """Octets of the request's body in all, or None as long as nobody knows."""

    received: int = 0
    """Octets of the response's body that are here."""

    to_receive: int | None = None
    """Octets of the response's body in all: the server's estimate at first, if it gives one (Size2)."""


@final
class _Numbers:
    """The smallest numbers that are free, each in O(log n)."""

    __slots__ = ("_free", "_next")

    def __init__(self) -> None:
        self._free: list[int] = []
        self._next = 0

    def take(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1

    def release(self, number: int) -> bool:
        """Take *number* back; say whether that was the last one."""
        heapq.heappush(self._free, number)
        return len(self._free) == self._next


@final
class RequestTags:
    """Gives a Request-Tag to each body that is on its way (:rfc:`9175` section 3).

    A tag is used again once its body has been answered for, and the answer is here whole.  That of a transfer that ended
    otherwise is not: blocks of it may still be on the way, and must not get into another body.
    """

    def __init__(self) -> None:
        """Begin with the shortest tag, the empty one."""
        self._tags = _Numbers()
        self._short: dict[str, _Numbers] = {}

    def take(self) -> int:
        """Return a tag that no other body has."""
        return self._tags.take()

    def release(self, tag: int) -> None:
        """Take *tag* back."""
        self._tags.release(tag)

    def enter(self, uri: str) -> int:
        """Return the number of a request for *uri* that is one message, but whose response may be long.

        The first one at a time has 0, and needs no tag; with the others it is one, to tell their responses apart.
        """
        numbers = self._short.get(uri)
        if numbers is None:
            numbers = self._short[uri] = _Numbers()
        return numbers.take()

    def leave(self, uri: str, number: int) -> None:
        """Take *number* back: the transfer is over, however it ended."""
        if self._short[uri].release(number):
            del self._short[uri]

    @staticmethod
    def encode(tag: int) -> bytes:
        """Return the value of the option, in as few octets as it takes."""
        return encode_uint(tag)


@final
class Conversation:
    """Sends the requests of one transfer, one after the other."""

    __slots__ = ("_backpressure", "_endpoint", "_find_targets", "_follower", "_parameters", "_targets", "template")

    def __init__(
        self,
        endpoint: LocalEndpoint,
        template: Request,
        find_targets: Callable[[], Awaitable[Sequence[Request]]],
        parameters: TransmissionParameters | None,
        backpressure: Backpressure | None = None,
    ) -> None:
        """Prepare a conversation; nothing is sent yet.

        Args:
          endpoint: which sends.
          template: method, type and the options of the caller; to ask what they are.
          find_targets: finds the request for each address, without payload.
          parameters: of all requests.
          backpressure: whom to hold requests back from; by default nobody.
        """
        self.template = template
        self._endpoint = endpoint
        self._find_targets = find_targets
        self._parameters = parameters
        self._backpressure = backpressure
        self._targets: Sequence[Request] | None = None
        # The last request that has followed the one that was asked for; None if none has.
        self._follower: Request | None = None

    async def ask(
        self,
        payload: bytes,
        *,
        options: Options = NO_OPTIONS,
        without: frozenset[int] = NOTHING,
        follow: Follow | None = None,
    ) -> Response:
        """Send a request and return the response, or that to the last of those that follow.

        Args:
          payload: of this request.
          options: in addition to those of all requests.
          without: numbers of those that this request leaves out.
          follow: says what follows, once one address has answered; see :meth:`options_of`.

        Raises:
          CoapError: see :meth:`RequestHandle.receive`.
        """
        if self._targets is None:
            requests = self._targets = await self._find_targets()
            if options is NO_OPTIONS and without is NOTHING:
                # They are sent as they are; the payload is that of each request of its own.
                for request in requests:
                    request.payload = payload
            else:
                requests = self._again(payload, options, without)
        else:
            requests = self._again(payload, options, without)
        self._follower = None
        response = await self._exchange(requests, None if follow is None else partial(self._next, requests, follow))
        if len(requests) > 1:
            answered = response.source_endpoint
            self._targets = [target for target in self._targets if target.destination_endpoint == answered]
        echo = find_challenge(response)
        if echo is None:
            return response
        # It goes to the endpoint that gave the Echo, and to no other.
        last = self._follower
        if last is not None:
            return await self._exchange([_again(last, last.payload, last.options.replace(echo=echo))])
        return await self._exchange(self._again(payload, options + Options(echo=echo), without | {ECHO}))

    def options_of(self, options: Options, without: frozenset[int]) -> Options:
        """Return the options of a request to the address that has answered, as :meth:`ask` takes them."""
        assert self._targets is not None
        return self._targets[0].options.without(*without) + options

    def _next(self, requests: Sequence[Request], follow: Follow, response: Response) -> Request | None:
        """Return the request that follows *response* at once, if there is one, and nothing holds it back."""
        assert self._targets is not None
        if len(requests) > 1 or (self._backpressure is not None and self._backpressure.is_held(requests[0])):
            return None
        following = follow(response)
        if following is None:
            return None
        request = self._follower = _again(self._targets[0], *following)
        return request

    def _exchange(
        self, requests: Sequence[Request], follow: Callable[[Response], Request | None] | None = None
    ) -> Coroutine[object, object, Response]:
        exchange = Exchange(self._endpoint, self._parameters, self._backpressure, follow)
        return exchange.run(requests) if self._backpressure is None else self._wait_and_run(exchange, requests)

    async def _wait_and_run(self, exchange: Exchange, requests: Sequence[Request]) -> Response:
        assert self._backpressure is not None
        await self._backpressure.wait(requests[0].destination_endpoint)
        return await exchange.run(requests)

    def _again(self, payload: bytes, options: Options, without: frozenset[int]) -> Sequence[Request]:
        """Return requests like the targets, which may have been sent, to be sent as other messages."""
        assert self._targets is not None
        return [_again(target, payload, target.options.without(*without) + options) for target in self._targets]


def find_challenge(response: Response) -> bytes | None:
    """Return the Echo that the request is to be sent again with (:rfc:`9175` section 2.3); None if none is asked for."""
    return response.options.echo if response.code is Code.UNAUTHORIZED else None


def _again(target: Request, payload: bytes, options: Options) -> Request:
    """Return a request like *target*, which may have been sent, to be sent as another message."""
    request = target.replace(payload=payload, options=options)
    request.message_id = None
    request.token = b""
    return request
