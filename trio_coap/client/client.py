"""The client: methods of CoAP as methods of Python (:rfc:`7252` section 5.8, :rfc:`8132`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Unpack, final

from trio_coap.client.arguments import (
    RequestArguments,
    TransferArguments,
    split_arguments,
    split_transfer_arguments,
)
from trio_coap.client.attempt import FindTargets
from trio_coap.client.backpressure import Backpressure
from trio_coap.client.blockwise import SAFE, Download, Upload, is_whole
from trio_coap.client.cache import ResponseCache
from trio_coap.client.discovery import LINK_FORMAT, Filter, find_core, read_links, write_filters
from trio_coap.client.handle import RequestHandle
from trio_coap.client.multicast import GroupRequest, find_group_request
from trio_coap.client.observation import REGISTER, Observation
from trio_coap.client.ping import send_ping
from trio_coap.client.states import StateReader
from trio_coap.client.streaming import StreamedResponse
from trio_coap.client.targets import TargetFinder, address_requests
from trio_coap.client.telling import NO_RESPONSE_AT_ALL, tell
from trio_coap.client.transfer import MAX_BLOCK_SIZE, NO_OPTIONS, Conversation, Progress, RequestTags
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.errors import DeliveryError
from trio_coap.messaging.parameters import TransmissionParameters
from trio_coap.transports.driver import DrivenEndpoint
from trio_coap.wire.block import Block
from trio_coap.wire.body import BodyReader, BodySource
from trio_coap.wire.codes import CON, NON, Code
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.linkformat import Link
from trio_coap.wire.message import EndpointAddress, Request, Response
from trio_coap.wire.options import Options


@final
class Client:
    """Sends requests from one endpoint; made by :func:`open_client`.

    The methods ``get`` to ``ipatch`` send a request and return the response, whatever its code.  They share these
    arguments:

    - *uri*: an absolute URI, or one relative to the client's base URI;
    - *payload*: octets, or a text that is sent as UTF-8 (as text/plain unless *content_format* says otherwise);
    - the rest by keyword: how to send the request, and its options by name; see :class:`RequestArguments`.

    Bodies that are too large for a datagram go in blocks (:rfc:`7959`), in both directions and without further ado; see
    :class:`TransferArguments`, and :meth:`stream` for what should not be held in memory.  Who gives *block1* or *block2*
    gets exactly that block, and does the rest.

    A server may answer 4.01 with an Echo option, to see whether the request is fresh and comes from where it says.  The
    same request is sent again with that Echo then, once (:rfc:`9175` section 2.3).

    Cancelling a method ends the request on the wire: no more retransmissions, the token and the NSTART slot are
    free, a response that comes nevertheless is rejected with a Reset.

    The addresses of a name are tried in the resolver's order: the next one when the network says that one cannot be
    reached, or after MAX_TRANSMIT_WAIT of silence.

    Attributes:
      cache: keeps responses, or None.

    They raise what :meth:`RequestHandle.receive` raises, and before anything is sent

    - :exc:`UriError` (a LocalProtocolError and a ValueError), if *uri* is not a URI of CoAP;
    - :exc:`LocalProtocolError`, if an argument does not fit, or there is no transport for the URI's scheme;
    - :exc:`socket.gaierror` (an OSError), if the host does not resolve;
    - :exc:`PendingLimitReached`, if too many requests wait for this host already;
    - :exc:`trio.ClosedResourceError`, if the endpoint has been closed.
    """

    def __init__(
        self,
        endpoint: DrivenEndpoint,
        base_uri: str | None = None,
        *,
        cache: ResponseCache | None = None,
        holds_back: bool = False,
    ) -> None:
        """Make a client on a running endpoint; it needs no closing.

        Args:
          endpoint: sends the requests; it may be a server's at the same time.
          base_uri: what relative URIs are relative to.
          cache: keeps responses, and answers from them; by default nothing is kept.
          holds_back: whether requests wait as long as a server asks for; see :func:`open_client`.
        """
        self.cache = cache
        self._endpoint = endpoint
        self._backpressure = Backpressure(endpoint) if holds_back else None
        self._finder = TargetFinder(base_uri)
        self._tags = RequestTags()

    @property
    def endpoint(self) -> DrivenEndpoint:
        """The endpoint that sends the requests."""
        return self._endpoint

    async def get(self, uri: str, **arguments: Unpack[TransferArguments]) -> Response:
        """GET: return a representation of the resource."""
        return await self._perform(Code.GET, uri, b"", arguments)

    async def delete(self, uri: str, **arguments: Unpack[TransferArguments]) -> Response:
        """DELETE: remove the resource."""
        return await self._perform(Code.DELETE, uri, b"", arguments)

    async def put(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[TransferArguments]) -> Response:
        """PUT: create or replace the resource."""
        return await self._perform(Code.PUT, uri, payload, arguments)

    async def post(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[TransferArguments]) -> Response:
        """POST: have the resource process the payload."""
        return await self._perform(Code.POST, uri, payload, arguments)

    async def fetch(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[TransferArguments]) -> Response:
        """FETCH: return what the payload asks for (:rfc:`8132` section 2)."""
        return await self._perform(Code.FETCH, uri, payload, arguments)

    async def patch(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[TransferArguments]) -> Response:
        """PATCH: change parts of the resource (:rfc:`8132` section 3)."""
        return await self._perform(Code.PATCH, uri, payload, arguments)

    async def ipatch(self, uri: str, payload: bytes | str = b"", **arguments: Unpack[TransferArguments]) -> Response:
        """iPATCH: change parts of the resource, idempotently (:rfc:`8132` section 3)."""
        return await self._perform(Code.IPATCH, uri, payload, arguments)

    async def exchange(
        self, code: Code, uri: str, payload: bytes | str = b"", **arguments: Unpack[TransferArguments]
    ) -> Response:
        """Send a request with any method and return the response: what the methods above do.

        With *no_response* it waits all the same, for as long as the caller's cancel scope lets it, because the server
        may answer nevertheless; :meth:`tell` does not.

        Args:
          code: the method.
          uri, payload, arguments: see :class:`Client`.

        Raises:
          LocalProtocolError: if *code* is no method, or an option does not fit.
          BlockTransferError: if the server's blocks do not fit together; :exc:`RepresentationChanged` or
            :exc:`BodyTooLarge` where it is that.
          CoapError: see :meth:`RequestHandle.receive`.
        """
        return await self._perform(code, uri, payload, arguments)

    def _perform(
        self, code: Code, uri: str, payload: bytes | str, arguments: TransferArguments
    ) -> Coroutine[object, object, Response]:
        if self.cache is None:
            return self._exchange(code, uri, payload, arguments)
        return self.cache.exchange(self._exchange, self._finder.base_uri, code, uri, payload, arguments)

    async def _exchange(self, code: Code, uri: str, payload: bytes | str, arguments: TransferArguments) -> Response:
        block_size, max_body, progress, rest = split_transfer_arguments(arguments)
        conversation, body = self._converse(code, uri, payload, rest)
        template = conversation.template
        if arguments and _names_a_block(template):
            # Who names a block gets that block.
            reader = BodyReader(body)
            return await conversation.ask((await reader.read_block(0, reader.size or 0))[0])
        answer = number = upload = None
        try:
            if isinstance(body, bytes) and len(body) <= MAX_BLOCK_SIZE and progress is None and block_size is None:
                # Nearly always it is one message, and the answer is another one: nothing is to be done about blocks.
                if code not in SAFE and not template.options.request_tag:
                    number = self._tags.enter(uri)
                tag = Options(request_tag=[RequestTags.encode(number)]) if number else NO_OPTIONS
                answer = await conversation.ask(body, options=tag)
                if is_whole(answer, max_body):
                    return answer
            progress = progress or Progress()
            upload = Upload(
                conversation, BodyReader(body), self._tags, progress, block_size, uri, answer=answer, number=number
            )
            first = await upload.run()
            return await Download(conversation, first, upload, progress, block_size).read_all(max_body)
        finally:
            if upload is not None:
                upload.leave()
            elif number is not None:
                self._tags.leave(uri, number)

    async def tell(
        self, code: Code, uri: str, payload: bytes | str = b"", **arguments: Unpack[RequestArguments]
    ) -> Response | None:
        """Send a request and want no answer (:rfc:`7967`): No-Response is 26, for none at all, unless it is given.

        It returns as soon as a Confirmable request is acknowledged, and a Non-confirmable one sent: PROBING_RATE may take
        its time.  The request is one message, never in blocks.  Cancelling ends it, as with the methods above.

        A group can be told too, Non-confirmable.

        Example::

            await client.tell(Code.PUT, "coap://[::1]/level", "17", confirmable=False)

        Args:
          code: the method.
          uri, payload, arguments: see :class:`Client`.

        Returns:
          The response, if the acknowledgement has brought one nevertheless, whatever its code; otherwise None.  One
          that comes later is rejected with a Reset.

        Raises:
          TransmissionTimeout: if nobody acknowledged a Confirmable request.
          ResetReceived: if the peer rejected it.
          NetworkError: if the network said at once that it cannot be delivered; of a Confirmable one also later.
          CoapError: see :class:`Client`.
        """
        arguments.setdefault("no_response", NO_RESPONSE_AT_ALL)
        _, find_targets, parameters = self._prepare(code, uri, payload, arguments)
        send = partial(tell, self._endpoint, find_targets, parameters, self._backpressure)
        if self.cache is None:
            return await send()
        return await self.cache.watch(send, self._finder.base_uri, code, uri, arguments)

    def request(
        self, code: Code, uri: str, payload: bytes | str = b"", **arguments: Unpack[RequestArguments]
    ) -> RequestHandle:
        """Prepare a request and return its handle, an async context manager that sends it on entering.

        A handle is one exchange of messages: what is too long for one, it does not put into blocks, of a response in
        blocks it gives the first, and a 4.01 with an Echo option is left to the caller.

        Args:
          code: the method.
          uri, payload, arguments: see :class:`Client`.

        Raises:
          LocalProtocolError: if *code* is no method, or an option does not fit.
        """
        _, find_targets, parameters = self._prepare(code, uri, payload, arguments)
        ended = self.cache and self.cache.witness(self._finder.base_uri, code, uri, arguments)
        return RequestHandle(self._endpoint, find_targets, parameters, self._backpressure, ended)

    def observe(
        self, uri: str, payload: bytes | str = b"", *, code: Code = Code.GET, **arguments: Unpack[TransferArguments]
    ) -> Observation:
        """Prepare an observation and return it, an async context manager that registers on entering (:rfc:`7641`).

        It gives whole states: what comes in blocks is put together when it is received (:rfc:`7959` section 2.6).
        *block_size* holds for the notifications too, *max_body* for each state, and *progress* is that of the state that
        is being read.  Who gives *block2* gets the first blocks as they come.

        Example::

            async with client.observe("coap://[::1]/time") as observation:
                async for response in observation:
                    print(response.text)

        Args:
          uri, arguments: see :class:`Client`.
          payload: of a FETCH; it must fit into one block.
          code: GET, or FETCH (:rfc:`8132` section 2.4).

        Raises:
          LocalProtocolError: if *code* is another method, *payload* is too long, *block2* is another block than the
            first, or an option does not fit.
        """
        block_size, max_body, progress, rest = split_transfer_arguments(arguments)
        progress = progress or Progress()
        if code not in (Code.GET, Code.FETCH):
            raise LocalProtocolError(f"GET and FETCH can be observed, {code} cannot")
        template, find_targets, parameters = self._prepare(code, uri, payload, rest)
        longest = block_size or MAX_BLOCK_SIZE
        if len(template.payload) > longest:
            raise LocalProtocolError(
                f"what is observed is said in one block of {longest} octets, not {len(template.payload)}"
            )
        block = template.options.block2
        if block is not None and block.number:
            raise LocalProtocolError("an observation is of the whole resource, not of a block (RFC 7959 section 2.6)")
        early = Block.of(0, False, block_size) if block is None and block_size else block
        template.options = template.options.replace(observe=REGISTER, block2=early)
        reader = StateReader(self._endpoint, parameters, self._backpressure, block_size, max_body, progress)
        return Observation(
            self._endpoint,
            find_targets,
            parameters,
            reader if block is None else None,
            self._backpressure,
            self.cache and self.cache.listener(self._finder.base_uri, code, uri, payload, rest),
        )

    def multicast(
        self,
        code: Code,
        uri: str,
        payload: bytes | str = b"",
        *,
        interfaces: Sequence[str] | None = None,
        **arguments: Unpack[TransferArguments],
    ) -> GroupRequest:
        """Prepare a request to a group and return it, an async context manager that sends it on entering.

        It goes out once, Non-confirmable, by all interfaces, and gives each member's response as it comes, whole: what is
        in blocks is completed by unicast.  After leaving, what still comes is taken and passed over (:rfc:`7252` section
        8).

        Example::

            with trio.move_on_after(3):
                async with client.multicast(Code.GET, "coap://224.0.1.187/time") as responses:
                    async for response in responses:
                        print(response.source_endpoint.uri, response.text)

        Args:
          code: the method.
          uri: of the group, a numeric address, possibly with a zone; the payload fits into one message.
          payload, arguments: see :class:`Client`.
          interfaces: names of those by which it goes out; by default all that can do multicast.

        Raises:
          LocalProtocolError: if *code* is no method, the request is to be Confirmable, *progress* or *observe* is given,
            or an option does not fit; on entering, if *uri* is not that of a group, or there is no such interface.
        """
        block_size, max_body, _, rest = split_transfer_arguments(arguments)
        if rest.setdefault("confirmable", False):
            raise LocalProtocolError("a request to a group is Non-confirmable (RFC 7252 section 8.1)")
        if "progress" in arguments:
            raise LocalProtocolError("the members of a group send a body each; there is no progress of all")
        template, find_targets, parameters = self._prepare(code, uri, payload, rest)
        if template.options.observe is not None:
            raise LocalProtocolError("a group is asked once; observe its members, each for itself")
        if block_size is not None:
            template.options = template.options.replace(block2=Block.of(0, False, block_size))
        find_request = partial(find_group_request, self._endpoint, find_targets, interfaces)
        return GroupRequest(self._endpoint, find_request, parameters, block_size, max_body)

    @asynccontextmanager
    async def stream(
        self, code: Code, uri: str, body: BodySource = b"", **arguments: Unpack[TransferArguments]
    ) -> AsyncIterator[StreamedResponse]:
        """Send a request whose body may be long, and read the response's body while it comes (:rfc:`7959`).

        Neither is ever held whole.  Entering sends *body*, block by block, and returns with the first block of the
        response; the others come as they are asked for.

        Example::

            async with client.stream(Code.GET, "coap://[::1]/log") as response:
                async for chunk in response.stream():
                    ...

        Args:
          code: the method.
          uri, arguments: see :class:`Client`; *max_body* does not count here.
          body: octets, a text, a file opened for reading octets (Trio's too), an iterable or an asynchronous iterable of
            octets.  One that cannot be read twice is not sent again if the server loses blocks of it (4.08) or wants
            smaller ones late (4.13).  It is not closed.

        Raises:
          LocalProtocolError: if *code* is no method, or an option does not fit.
          BlockTransferError: if the server's blocks do not fit together.
          CoapError: see :meth:`RequestHandle.receive`.
        """
        block_size, _, progress, rest = split_transfer_arguments(arguments)
        progress = progress or Progress()
        conversation, source = self._converse(code, uri, body, rest)
        reader = BodyReader(source)
        if _names_a_block(conversation.template):
            raise LocalProtocolError("a stream is a whole body; exchange() gives a single block")
        upload = Upload(conversation, reader, self._tags, progress, block_size, uri)
        try:
            if self.cache is None:
                first = await upload.run()
            else:
                first = await self.cache.watch(upload.run, self._finder.base_uri, code, uri, rest)
            yield StreamedResponse(Download(conversation, first, upload, progress, block_size), progress)
        finally:
            upload.leave()

    async def discover(
        self, uri: str = "/", remote: EndpointAddress | None = None, /, **filters: Filter
    ) -> tuple[Link, ...]:
        """Ask a server what resources it has (:rfc:`6690` section 4), and return the links to them.

        Example::

            for link in await client.discover("coap://[::1]", rt="temperature*", obs=True):
                print(link.target, link.title)

        Args:
          uri: any URI at the server; its path does not count.
          remote: whom to ask, whatever the URI's host is; *uri* may be relative to it.
          filters: attributes that the links are to have, and ``href`` for their target as the server writes it.  A
            value may end in ``*``, for any that begins like that; True is for any value or none.  ``if_`` is ``if``.

        Returns:
          The links that meet all filters, whether or not the server applies them; with URIs as their targets.  In
          ``link.attributes`` nothing is resolved.

        Raises:
          ResponseError: if the server answers with an error.
          RemoteProtocolError: if it answers with something else than links (:exc:`LinkFormatError` if it is not clear
            what they mean).
          LinkError: if something is no filter; it is a LocalProtocolError.
          CoapError: see :class:`Client`.
        """
        query = write_filters(filters)
        base_uri = self._finder.base_uri
        if base_uri is None and isinstance(remote, Endpoint):
            base_uri = remote.uri
        core_uri = find_core(uri, base_uri, filters)
        response = await self.get(core_uri, accept=LINK_FORMAT, remote=remote)
        return read_links(response, core_uri, query)

    async def ping(
        self, uri: str, *, parameters: TransmissionParameters | None = None, remote: EndpointAddress | None = None
    ) -> float:
        """Send an empty Confirmable message, the CoAP ping, and wait for its Reset (:rfc:`7252` section 4.3).

        Args:
          uri: whom to ping; only scheme, host and port count.
          parameters: transmission parameters for the ping; by default the endpoint's.
          remote: whom to ping, whatever the URI's host is.

        Returns:
          The round-trip time, in seconds.

        Raises:
          DeliveryError: if nobody answered at the last of the addresses, or the network said that it is in vain.
        """
        *others, (last, _) = await self._finder.find(uri, remote)
        for endpoint, _ in others:
            with suppress(DeliveryError):
                return await send_ping(self._endpoint, endpoint, parameters)
        return await send_ping(self._endpoint, last, parameters)

    def _converse(
        self, code: Code, uri: str, body: BodySource, arguments: RequestArguments
    ) -> tuple[Conversation, BodySource]:
        """Return what sends the blocks, and the body that they are cut from: octets, if *body* is a text."""
        text = body if isinstance(body, str) else b""
        template, find_targets, parameters = self._prepare(code, uri, text, arguments)
        if text:
            body, template.payload = template.payload, b""
        return Conversation(self._endpoint, template, find_targets, parameters, self._backpressure), body

    def _prepare(
        self, code: Code, uri: str, payload: bytes | str, arguments: RequestArguments
    ) -> tuple[Request, FindTargets, TransmissionParameters | None]:
        confirmable, parameters, remote, options = split_arguments(arguments)
        template = Request(code, payload, type=CON if confirmable else NON, options=options)

        async def find_targets() -> Sequence[Request]:
            return address_requests(template, await self._finder.find(uri, remote))

        return template, find_targets, parameters


def _names_a_block(template: Request) -> bool:
    return template.options.block1 is not None or template.options.block2 is not None
