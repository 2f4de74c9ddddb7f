"""A cache of responses (:rfc:`7252` section 5.6).

================================================  ====================================================================
what happens                                      what becomes of stored responses
================================================  ====================================================================
2.05, 4.xx or 5.xx to a GET or a FETCH            it is fresh for Max-Age seconds, and answers such requests (5.6.1)
the newest one is not fresh any more              its ETag, and those of older ones, go with the next request (5.6.2)
2.03 to that                                      the one it names is fresh again, with the options of the 2.03 (5.9.1.3)
anything else to that                             it is stored instead, or what there is does not count as fresh
another method, answered with all but 4.xx        what is stored of the resource is not fresh any more (5.9.1)
another method that ends without an answer        likewise: it may have arrived
a notification with a whole state                 it is stored like a response
a 4.08, a response with Echo                      nothing: they are about this request, not about the resource
================================================  ====================================================================

Rule 1: what is asked for later is newer, whatever arrives first; what was under way when the resource changed is not
stored.  Rule 2: storing is synchronous, and a request that is cancelled stores nothing.  Rule 3: here it is known what was
asked and what that means; what is kept, and for how long, :mod:`trio_coap.client.responses` knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar, final

import attrs
import trio

from trio_coap.client.arguments import RequestArguments, TransferArguments, split_transfer_arguments
from trio_coap.client.cachekeys import CacheKey, Question, Resource, find_question, find_resource
from trio_coap.client.responses import StoredResponses
from trio_coap.client.transfer import MAX_BODY, Progress
from trio_coap.wire.codes import Code
from trio_coap.wire.definitions import is_unsafe
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import Response
from trio_coap.wire.options import Options

MAX_RESPONSES = 512
"""Responses that are kept: a building's worth of resources, in less than a megabyte if they fit into datagrams."""

MAX_OCTETS = 4 * 1024 * 1024
"""Octets of bodies and options that are kept, which may be long by block-wise transfer; a quarter of what one response may
have by default."""

SAFE_METHODS = frozenset({Code.GET, Code.FETCH})
"""The methods that change nothing, and whose responses are stored."""

_MAX_AGE = 14

AnyResponse = TypeVar("AnyResponse", bound=Response | None)


class Send(Protocol):
    """Sends a request over the network; :class:`trio_coap.Client` does."""

    async def __call__(self, code: Code, uri: str, payload: bytes | str, arguments: TransferArguments) -> Response:
        """Return the response."""


@attrs.frozen
class CacheStatistics:
    """A snapshot of what a cache holds, and of what it was good for."""

    hits: int
    """Requests that were answered from the cache; nothing was sent."""

    validations: int
    """Requests for which the server found a stored response valid; no body was sent."""

    misses: int
    """Requests that took a response with its body, or ended without one."""

    responses: int
    """Responses that are stored."""

    octets: int
    """Octets that they take."""

    turned_away: Mapping[str, int]
    """Responses that were forgotten or not stored because of a limit, by the limit's name."""


@attrs.define(eq=False)
class _Asking:
    """A request under way."""

    key: CacheKey
    number: int
    """Those that are asked later have higher ones."""
    by_etag: dict[bytes, Response]
    """What the server may find valid."""
    has_named_them: bool = False
    """Whether the request says so; a caller's own ETags are something else."""
    is_outdated: bool = False
    """Whether the resource has changed since it was sent, or something newer has come."""


@final
class ResponseCache:
    """Keeps responses, and answers requests from them while they are fresh; see :mod:`trio_coap.client.cache`.

    A client that is given one asks it before the network in ``get``, ``fetch`` and ``exchange``.  Requests with *block1*,
    *block2* or *observe*, handles and streams are not answered from it; with *etag* of the caller's own they are not
    either, but what comes is stored.  The response from the cache is a copy, whose Max-Age tells how long it is still
    fresh; ``statistics()`` tells how many there were.

    Example::

        async with open_client(cache=ResponseCache()) as client:
            await client.get("coap://[::1]/time")
            await client.get("coap://[::1]/time")
            print(client.cache.statistics().hits)

    A cache is for the clients of one application: whoever asks gets what others have asked for.
    """

    def __init__(self, *, max_responses: int = MAX_RESPONSES, max_octets: int = MAX_OCTETS) -> None:
        """Make an empty cache.

        Args:
          max_responses: how many responses to keep.
          max_octets: how many octets they may have in all: bodies, options and the payloads of the requests.

        Raises:
          LocalProtocolError: if one of them is negative.
        """
        if max_responses < 0 or max_octets < 0:
            raise LocalProtocolError(f"a cache has no room for {max_responses} responses in {max_octets} octets")
        self._stored = StoredResponses(max_responses, max_octets)
        self._asking: set[_Asking] = set()
        self._asked = 0
        self._counts: Counter[str] = Counter()

    def statistics(self) -> CacheStatistics:
        """Return what is stored, and what was counted."""
        counts = self._counts
        return CacheStatistics(
            hits=counts["hits"],
            validations=counts["validations"],
            misses=counts["misses"],
            responses=self._stored.count,
            octets=self._stored.octets,
            turned_away=dict(self._stored.turned_away),
        )

    def invalidate(self, uri: str) -> None:
        """Let nothing that is stored of a resource count as fresh, whatever the query; it may still be validated.

        Args:
          uri: absolute.

        Raises:
          UriError: if it is not a URI of CoAP.
        """
        self._invalidate(find_resource(uri))

    def clear(self) -> None:
        """Forget all responses; those under way are not stored either."""
        for asking in self._asking:
            asking.is_outdated = True
        self._stored.clear()

    # For the client.

    async def exchange(
        self,
        send: Send,
        base_uri: str | None,
        code: Code,
        uri: str,
        payload: bytes | str,
        arguments: TransferArguments,
    ) -> Response:
        """Answer a request from what is stored, or by *send*; see :meth:`Client.exchange`.

        Args:
          send: asks the server.
          base_uri: what *uri* may be relative to.
          code, uri, payload, arguments: the request.
        """
        _, max_body, given, rest = split_transfer_arguments(arguments)
        progress = given or Progress()
        if code not in SAFE_METHODS:
            return await self.watch(lambda: send(code, uri, payload, arguments), base_uri, code, uri, rest)
        question = find_question(code, uri, payload, rest, base_uri)
        if not question.has_key:
            return await send(code, uri, payload, arguments)
        if not question.has_etag:
            hit = self._find_fresh(question.key, max_body)
            if hit is not None:
                progress.received = progress.to_receive = len(hit.payload)
                await trio.lowlevel.checkpoint()
                return hit

        async def ask(etags: list[bytes]) -> Response:
            asked = arguments.copy()
            if etags:
                asked["etag"] = etags
            return await send(code, uri, payload, asked)

        response = await self._ask(question, max_body, ask)
        if response.code is Code.CONTENT:
            progress.received = progress.to_receive = len(response.payload)
        return response

    async def watch(
        self,
        send: Callable[[], Awaitable[AnyResponse]],
        base_uri: str | None,
        code: Code,
        uri: str,
        arguments: RequestArguments,
    ) -> AnyResponse:
        """Return what *send* returns, and take note of what the request changes.

        Args:
          send: sends the request; returns the response, or None if it does not wait for one.
          base_uri: what *uri* may be relative to.
          code, uri, arguments: the request.
        """
        if code in SAFE_METHODS:
            return await send()
        resource = find_question(code, uri, b"", arguments, base_uri).key.resource
        try:
            response = await send()
        except BaseException:
            self._take_change(resource, None)
            raise
        self._take_change(resource, response)
        return response

    def witness(
        self, base_uri: str | None, code: Code, uri: str, arguments: RequestArguments
    ) -> Callable[[Response | None], None] | None:
        """Return what is to be told how a request ended: its response, or None without one; None if it changes nothing.

        Args:
          base_uri: what *uri* may be relative to.
          code, uri, arguments: the request.
        """
        if code in SAFE_METHODS:
            return None
        return partial(self._take_change, find_question(code, uri, b"", arguments, base_uri).key.resource)

    def listener(
        self, base_uri: str | None, code: Code, uri: str, payload: bytes | str, arguments: RequestArguments
    ) -> Callable[[Response], None] | None:
        """Return what is to be told the states of an observed resource as they arrive, or None if it can do nothing.

        Args:
          base_uri: what *uri* may be relative to.
          code, uri, payload, arguments: the registration.
        """
        question = find_question(code, uri, payload, arguments, base_uri)
        return partial(self._take_state, question.key) if question.has_key else None

    def _take_state(self, key: CacheKey, response: Response) -> None:
        # It is newer than all that was asked before it came.
        asking = self._begin(key)
        block = response.options.block2
        if block is None or not (block.number or block.more):
            self._take(asking, response, trio.current_time())
        else:
            # A part of a new state, which is to be asked for.
            self._supersede(asking)
            self._stored.outdate(key)
        self._asking.discard(asking)

    async def _ask(
        self, question: Question, max_body: int, ask: Callable[[list[bytes]], Awaitable[Response]]
    ) -> Response:
        asking = self._begin(question.key, max_body)
        etags = [] if question.has_etag else list(asking.by_etag)
        asking.has_named_them = bool(etags)
        is_validated = False
        try:
            response = await ask(etags)
            taken = self._take(asking, response, trio.current_time())
            if taken is None and etags:
                # A 2.03 that names nothing of ours is of no use to who asked for a representation.
                asking.by_etag.clear()
                asking.has_named_them = False
                response = await ask([])
                taken = self._take(asking, response, trio.current_time())
            is_validated = taken is not None and response.code is Code.VALID
        finally:
            self._asking.discard(asking)
            self._counts["validations" if is_validated else "misses"] += 1
        return response if taken is None or question.has_etag else taken

    def _begin(self, key: CacheKey, max_body: int = MAX_BODY) -> _Asking:
        self._asked += 1
        versions = [one for one in self._stored.versions(key) if len(one.response.payload) <= max_body]
        asking = _Asking(key, self._asked, {one.etag: one.response for one in versions if one.etag is not None})
        self._asking.add(asking)
        return asking

    def _take(self, asking: _Asking, response: Response, now: float) -> Response | None:
        """Store *response*, and return what it stands for; None for a 2.03 that names nothing of ours."""
        if response.code is Code.VALID:
            valid = _find_valid(asking, response.options.etag)
            if valid is None:
                return None
            response = _update(valid, response)
        if not asking.is_outdated:
            self._supersede(asking)
            self._stored.store(asking.key, response, now)
        return response

    def _supersede(self, asking: _Asking) -> None:
        for other in self._asking:
            if other.key == asking.key and other.number < asking.number:
                other.is_outdated = True

    def _find_fresh(self, key: CacheKey, max_body: int) -> Response | None:
        hit = self._stored.find_fresh(key, trio.current_time())
        # What is too large for the caller is asked for again: the client has the error for it.
        if hit is None or len(hit.payload) > max_body:
            return None
        self._counts["hits"] += 1
        return hit

    def _take_change(self, resource: Resource, response: Response | None) -> None:
        if response is None or response.code.class_ != 4:
            self._invalidate(resource)
        if response is not None and response.code is Code.CREATED:
            options = response.options
            if options.location_path or options.location_query:
                self._invalidate(resource.at(options.location_path))

    def _invalidate(self, resource: Resource) -> None:
        for asking in self._asking:
            asking.is_outdated = asking.is_outdated or asking.key.resource == resource
        self._stored.outdate_all(resource)


def _find_valid(asking: _Asking, etag: bytes | None) -> Response | None:
    if etag is None and asking.has_named_them and len(asking.by_etag) == 1:
        # The option is mandatory in a 2.03, but with one question there is one answer.
        return next(iter(asking.by_etag.values()))
    return None if etag is None else asking.by_etag.get(etag)


def _update(stored: Response, valid: Response) -> Response:
    """Return *stored* with what the 2.03 *valid* says about it (section 5.9.1.3)."""
    said = {number for number, _ in valid.options if not is_unsafe(number)} | {_MAX_AGE}
    kept = tuple([item for item in stored.options if item[0] not in said])
    new = tuple([item for item in valid.options if item[0] in said])
    # As they came: what is malformed among them counts as absent, here as there.
    response = valid.replace(payload=stored.payload, options=Options.from_wire(kept) + Options.from_wire(new))
    response.code = stored.code
    return response
