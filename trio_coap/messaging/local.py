"""The engine of the message layer: what a local endpoint does with messages (:rfc:`7252` section 4).

Rule 1: nothing here awaits but :meth:`LocalEndpoint.receive`, nothing reads a clock; a driver says what time it is,
hands datagrams in, and calls :meth:`LocalEndpoint.process_due` when the earliest entry is due.  Rule 2: who is above
is told synchronously: a request listener of requests, the owner of a token of responses.  Rule 3: every table has a
limit.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from trio_coap.messaging.cache import MessageCacheEntry
from trio_coap.messaging.counters import Counters
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.identifiers import Groups
from trio_coap.messaging.memory import Memory
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.messaging.queue import DueQueue
from trio_coap.messaging.randomness import RandomOctets
from trio_coap.messaging.received import RcvdMessageCacheEntry
from trio_coap.messaging.reception import Reception
from trio_coap.messaging.remote import RemoteEndpointState
from trio_coap.messaging.sent import SentListener, SentMessageCacheEntry
from trio_coap.messaging.timer import Timer
from trio_coap.wire.codes import CON, NON
from trio_coap.wire.errors import LocalProtocolError
from trio_coap.wire.message import EndpointAddress, Message, Request, Response

if TYPE_CHECKING:
    from trio_coap.messaging.statistics import EndpointStatistics

MAX_DATAGRAM = 65_535
"""The largest UDP datagram, in octets: what a receive buffer must hold."""

TOKEN_LENGTH = 4
"""Octets of the tokens that we draw: the 32 random bits that :rfc:`7252` section 5.3.1 asks for."""

_PASSING = frozenset({errno.ENOBUFS, errno.ENOMEM})
"""Errors of a system that is short of memory: the datagram is lost, the next one need not be."""

_MIN_SWEEP = 64
"""Below so many remote endpoints, looking for idle ones is not worth it."""


class RandomSource(Protocol):
    """Where random numbers come from: ``random.SystemRandom()``, or ``random.Random(seed)`` in tests."""

    def uniform(self, a: float, b: float) -> float:
        """Return a number between *a* and *b*."""

    def randrange(self, start: int) -> int:
        """Return an integer from 0 to *start* - 1."""

    def randbytes(self, n: int) -> bytes:
        """Return *n* octets."""


class RequestListener(Protocol):
    """Who serves requests; called synchronously, and must not raise."""

    def request_received(self, request: Request, entry: RcvdMessageCacheEntry, now: float) -> None:
        """Take *request*; sooner or later ``entry.respond(response, now)`` answers it."""


class RemoteListener(Protocol):
    """Who wants to know of remote endpoints that they are there, or gone; called synchronously, and must not raise."""

    def address_proved(self, remote: Endpoint, now: float) -> None:
        """Learn that *remote* receives at its address: it has repeated what only we and it can know."""

    def interest_lost(self, remote: Endpoint, request: Request | None, now: float) -> None:
        """Learn that *remote* does not want to know the response to *request*, or to none of its requests any more."""

    def may_repeat(self, remote: RemoteEndpointState, octets: int, now: float) -> bool:
        """Say whether a duplicate may be answered with so many octets, to *remote*, whose address may be forged."""


class ResponseListener(Protocol):
    """Who waits for responses with one token; called synchronously, and must not raise."""

    def response_received(self, response: Response, now: float) -> bool:
        """Take *response*; False rejects it, with a Reset if it is Confirmable."""

    def endpoint_closed(self) -> None:
        """Learn that no response will come, because the endpoint has been closed."""


class LocalEndpoint(Endpoint):
    """An endpoint of this host, which sends and receives messages.

    A subclass says how, by ``_rawsendto``, ``_rawrecvfrom`` and ``clock``.

    Attributes:
      parameters: the transmission parameters of the endpoint.
      limits: how much it remembers.
      rng: where its random numbers come from; *random* gives octets of it.
      queue: the entries of all its caches, and the timers of who is above, by the time they are due.
      counters: what it counts; :meth:`statistics` takes a snapshot.
      request_listener: who serves requests; None if nobody does.
      remote_listener: who wants to know of remote endpoints; None if nobody does.
      tokens: who waits for responses, by remote endpoint and token; for a group request by None and token.
      known_groups: what is known of groups.
    """

    __slots__ = (
        "_reception",
        "_remotes",
        "_sweep_size",
        "counters",
        "known_groups",
        "limits",
        "parameters",
        "queue",
        "random",
        "remote_listener",
        "request_listener",
        "rng",
        "tokens",
    )

    rng: RandomSource
    parameters: TransmissionParameters
    limits: Limits
    request_listener: RequestListener | None
    remote_listener: RemoteListener | None

    def __init__(
        self,
        sockaddr: tuple[Any, ...] | None = None,
        family: int | None = 0,
        security_mode: str | None = None,
        host: str | None = None,
        port: int = 5683,
        *,
        rng: RandomSource,
        parameters: TransmissionParameters = DEFAULT_PARAMETERS,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Make the endpoint; the address is given as for :class:`Endpoint`.

        Args:
          sockaddr, family, security_mode, host, port: see :class:`Endpoint`.
          rng: the source of message IDs, tokens and timeouts.
          parameters: the transmission parameters.
          limits: how much to remember.

        Raises:
          LocalProtocolError: if the endpoint exists already, with other parameters or limits.
        """
        if hasattr(self, "rng"):
            if (rng, parameters, limits) != (self.rng, self.parameters, self.limits):
                raise LocalProtocolError(f"{self!r} exists already, with other parameters, limits or random source")
            return
        self.rng = rng
        self.parameters = parameters
        self.limits = limits
        self._reset()

    def _reset(self) -> None:
        super()._reset()
        if not hasattr(self, "rng"):
            return  # The constructor is still at work, and calls again.
        self.queue: DueQueue[MessageCacheEntry | Timer] = DueQueue(self._wake_earlier)
        self.counters = Counters()
        self.request_listener = self.remote_listener = None
        self.tokens: dict[tuple[Endpoint | None, bytes], ResponseListener] = {}
        self.known_groups = Groups()
        self._remotes: dict[Endpoint, RemoteEndpointState] = {}
        self._sweep_size = _MIN_SWEEP
        self.random = RandomOctets(self.rng.randbytes)
        self._reception = Reception(self)

    @classmethod
    def _realm(cls, options: dict[str, Any]) -> Hashable:
        # A peer at this very address, known before, is no local endpoint and cannot become one.
        return (cls,)

    # What a driver provides.

    def clock(self) -> float:
        """Return the current time, in seconds."""
        raise NotImplementedError

    def _rawsendto(
        self, data: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None = None
    ) -> None:
        """Send a datagram, at once or never.

        Args:
          data: the datagram.
          destination_endpoint: to whom.
          local_address: which of our addresses it leaves from; by default the system chooses.

        Raises:
          OSError: if the system says that it cannot be delivered; a full buffer is no error, but a loss.
        """
        raise NotImplementedError

    async def _rawrecvfrom(self, bufsize: int) -> tuple[bytes, Endpoint]:
        """Wait for a datagram of at most *bufsize* octets and return it with its source."""
        raise NotImplementedError

    def _wake_earlier(self, time_due: float) -> None:
        """Learn that something is due at *time_due*, earlier than all else."""

    def _require_open(self) -> None:
        """Raise if nothing can be sent any more; called before a message is entered."""

    # What applications and drivers call.

    def rawsendto(
        self, data: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None = None
    ) -> None:
        """Send a datagram; see :meth:`_rawsendto`."""
        self._rawsendto(data, destination_endpoint, local_address)
        size = len(data)
        counters = self.counters
        counters.tx_messages += 1
        counters.tx_octets += size
        state = self._remotes.get(destination_endpoint)
        if state is not None:
            state.tx_messages += 1
            state.tx_octets += size

    async def rawrecvfrom(self, bufsize: int = 2048) -> tuple[bytes, Endpoint]:
        """Wait for a datagram; return it with its source.

        For an endpoint whose tasks do not run.  Cancelling loses no datagram.

        Args:
          bufsize: the most that the datagram is expected to have, in octets.
        """
        return await self._rawrecvfrom(bufsize)

    async def receive(self) -> Message | None:
        """Wait for a datagram and process it, for an endpoint whose tasks do not run.

        Returns:
          The message, when all that the message layer owes the sender has been sent; None for a duplicate
          and for what is to be ignored, such as another version or less than a header.

        Raises:
          MessageFormatError: if it is no well-formed message otherwise; a Reset has been sent if one is due.
        """
        data, source_endpoint = await self.rawrecvfrom(MAX_DATAGRAM)
        return self.datagram_received(data, source_endpoint, self.clock())

    def send(
        self,
        message: Message,
        destination_endpoint: Endpoint | None = None,
        *,
        now: float | None = None,
        parameters: TransmissionParameters | None = None,
        listener: SentListener | None = None,
        local_address: EndpointAddress | None = None,
    ) -> SentMessageCacheEntry:
        """Send a CON or NON message: now, or as soon as congestion control allows.

        Args:
          message: its message ID is set here, unless it has one.
          destination_endpoint: to whom; by default the message's destination.
          now: the current time, in seconds; by default :meth:`clock`.
          parameters: for this message; by default the endpoint's.
          listener: who wants to know what becomes of the message.
          local_address: which of our addresses it leaves from.

        Returns:
          The entry that has the message's state; ``entry.complete(now)`` stops it.

        Raises:
          LocalProtocolError: for an ACK or RST (``entry.reply()`` sends those), a missing destination, a CON to a
            group, or a message ID that is in use.
          PendingLimitReached: if too many messages wait for this destination already, or are remembered at all.
          trio.ClosedResourceError: by a driver whose endpoint has been closed.
        """
        self._require_open()
        destination = destination_endpoint or message.destination_endpoint
        if not isinstance(destination, Endpoint):
            raise LocalProtocolError(f"{message!r} has no destination")
        if destination.is_multicast and message.type is CON:
            raise LocalProtocolError("a message to a group is Non-confirmable (RFC 7252 section 8.1)")
        if message.type is not CON and message.type is not NON:
            raise LocalProtocolError(f"an ACK or RST goes out by entry.reply(), not by send(): {message!r}")
        message.source_endpoint = self
        message.destination_endpoint = destination
        return self.remote_state(destination).submit(
            message,
            self.clock() if now is None else now,
            parameters=parameters,
            listener=listener,
            local_address=local_address,
        )

    def new_token(self, remote: Endpoint | None) -> bytes:
        """Return a token that nobody can guess and no request to *remote* or to a group uses (:rfc:`7252` section 5.3.1).

        Args:
          remote: whom the request goes to; None for a group.
        """
        tokens = self.tokens
        while True:
            token = self.random.take(TOKEN_LENGTH)
            if (remote, token) not in tokens and (None, token) not in tokens:
                return token

    def remote_state(self, endpoint: Endpoint) -> RemoteEndpointState:
        """Return what is known of *endpoint*; nothing, if there was no contact before.

        It is forgotten some time after the last message that is remembered.
        """
        state = self._remotes.get(endpoint)
        if state is None:
            if len(self._remotes) >= self._sweep_size:
                self._sweep()
            state = self._remotes[endpoint] = RemoteEndpointState(endpoint, self)
            if endpoint.is_multicast:
                self.known_groups.add(state)
        return state

    def _sweep(self) -> None:
        """Drop the states that were asked for, and with which nothing came to be exchanged."""
        for state in list(self._remotes.values()):
            self.forget_remote_if_idle(state)
        # Only when there are twice as many again: that makes O(1) for each.
        self._sweep_size = 2 * len(self._remotes) + _MIN_SWEEP

    def next_message_id(self, endpoint: Endpoint) -> int:
        """Return a message ID for a message to *endpoint*; see :meth:`RemoteEndpointState.next_message_id`."""
        return self.remote_state(endpoint).next_message_id()

    def statistics(self) -> EndpointStatistics:
        """Return a snapshot of what the endpoint has counted, and of how much it remembers."""
        from trio_coap.messaging.statistics import take_snapshot

        pending = sum(state.pending for state in self._remotes.values())
        return take_snapshot(self.counters, remotes=len(self._remotes), pending=pending, tokens=len(self.tokens))

    def count_rejection(
        self, reason: str, section: str, remote: EndpointAddress, detail: str = "", *, now: float | None = None
    ) -> None:
        """Count a message that was rejected or ignored, and log it once for each reason and remote.

        Args:
          reason: the rule that is broken, as a short constant text.
          section: the section of RFC 7252 that has the rule, such as ``"5.4.1"``, or ``"RFC 7641 section 4.2"``.
          remote: whose message it was.
          detail: what else the log should say.
          now: the current time, in seconds; by default :meth:`clock`.
        """
        self._reception.rejections.count(reason, section, remote, self.clock() if now is None else now, detail)

    # What drivers call.

    def datagram_received(
        self, data: bytes, source_endpoint: Endpoint, now: float, local_address: EndpointAddress | None = None
    ) -> Message | None:
        """Process a datagram.

        Args:
          data: the datagram.
          source_endpoint: whom it came from.
          now: the current time, in seconds.
          local_address: which of our addresses it came to, where the socket tells.

        Returns:
          The message, when it has been passed on and all that is owed at once has been sent; None for a duplicate
          and for what is to be ignored, such as another version or less than a header.

        Raises:
          MessageFormatError: if it is no well-formed message otherwise; a Reset has been sent if one is due.
        """
        return self._reception.process_datagram(data, source_endpoint, now, local_address)

    def process_due(self, now: float, *, limit: int = 1000) -> float:
        """Do what is due.

        Args:
          now: the current time, in seconds.
          limit: how many entries to process at most, so that others get their turn.

        Returns:
          When the next entry is due, in seconds; infinity if there is none.
        """
        for _ in range(limit - self.memory.forget_expired(now, limit)):
            # It stays in the queue, as it does when somebody calls process_timeout() early; it moves or leaves itself.
            entry = self.queue.peek(now)
            if entry is None:
                break
            entry.process_timeout(now)
        return self.queue.earliest()

    def error_received(self, remote: Endpoint, quoted: bytes, os_error: OSError, now: float) -> bool:
        """Take an ICMP error into account: the message that it quotes fails, and its destination is gone.

        Errors can be forged (:rfc:`7252` section 4.2), so it counts only if the quoted octets are the beginning of
        a message that was sent to that very endpoint, header and token at the least.

        Returns:
          Whether it counted.
        """
        return self._reception.process_error(remote, quoted, os_error, now)

    def end_leisure(self, now: float) -> None:
        """Send at once what answers group requests and waits for its moment (section 8.2): who serves is about to go."""
        for state in list(self.states()):
            for entry in list(state.rcvd_cache.by_id.values()):
                if entry.respond_at is not None:
                    entry.process_timeout(now)

    def abandon(self) -> None:
        """Drop everything, because the endpoint closes: who waits for a response, or listens to a message, is told."""
        states = list(self._remotes.values())
        entries = [entry for state in states for entry in state.sent_cache.all_entries()]
        listening = [entry.listener for entry in entries if entry.listener is not None]
        waiting = list(self.tokens.values())
        self.queue.clear()  # All at once, with the timers of who is above.
        for state in states:
            state.sent_cache.clear()
            state.rcvd_cache.abandon()
        self._remotes.clear()
        self.known_groups.clear()
        self.tokens.clear()
        self.request_listener = self.remote_listener = None
        # Nothing is left to be sent by now, whatever the listeners do.
        for waiter in waiting:
            waiter.endpoint_closed()
        for listener in listening:
            listener.endpoint_closed()

    # What entries call.

    def transmit(
        self, octets: bytes, destination_endpoint: Endpoint, local_address: EndpointAddress | None
    ) -> OSError | None:
        """Send a datagram and return what went wrong, for entries, which go on anyway.

        What is wrong for a moment only is a loss like any other.  What is no OSError, such as that there is no socket,
        is wrapped: nothing may raise out of the tasks of a driver.
        """
        try:
            self.rawsendto(octets, destination_endpoint, local_address)
        except OSError as exc:
            if exc.errno not in _PASSING:
                return exc
            self.counters.turned_away["the system's memory for datagrams"] += 1
        except Exception as exc:
            error = OSError(str(exc) or repr(exc))
            error.__cause__ = exc
            return error
        return None

    def known_remote(self, endpoint: Endpoint) -> RemoteEndpointState | None:
        """Return what is known of *endpoint*, or None if that is nothing."""
        return self._remotes.get(endpoint)

    def states(self) -> Iterable[RemoteEndpointState]:
        """Return what is known of all remote endpoints."""
        return self._remotes.values()

    @property
    def memory(self) -> Memory:
        """The memory of received messages."""
        return self._reception.memory

    @property
    def remotes(self) -> int:
        """How many remote endpoints something is known of."""
        return len(self._remotes)

    def has_room_for_remote(self) -> bool:
        """Say whether the state of one more remote endpoint that contacts us may be kept."""
        return len(self._remotes) < self.limits.max_remotes

    def forget_remote_if_idle(self, state: RemoteEndpointState) -> None:
        """Drop the state of a remote endpoint of which nothing is remembered."""
        if state.is_idle and self._remotes.pop(state.endpoint, None) is not None:
            self.known_groups.discard(state)
            self.memory.leave(state.rcvd_cache)
