"""What all drivers share: an engine, a clock, and a nursery with two tasks.

Rule 1: the cache task sleeps until the earliest entry is due; who makes an earlier one moves the deadline.  Rule 2:
the two tasks are shielded from the cancellation of the scope around them, so that the body ends first and can still
send; then they are cancelled.  Rule 3: nothing that arrives from the network raises out of a task.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.local import LocalEndpoint, RandomSource
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS, Limits, TransmissionParameters
from trio_coap.wire.errors import LocalProtocolError, MessageFormatError
from trio_coap.wire.message import EndpointAddress

_logger = logging.getLogger(__name__)

SYSTEM_RANDOM = random.SystemRandom()
"""Where random numbers come from unless a test says otherwise: nobody can guess them (:rfc:`7252` section 5.3.1)."""


class DrivenEndpoint(LocalEndpoint):
    """A local endpoint whose engine is driven by two tasks; a subclass says how datagrams come and go."""

    is_closed: bool
    """True once the endpoint has been closed."""

    def __init__(
        self,
        sockaddr: tuple[Any, ...] | None = None,
        family: int | None = 0,
        security_mode: str | None = None,
        host: str | None = None,
        port: int = 5683,
        *,
        rng: RandomSource = SYSTEM_RANDOM,
        parameters: TransmissionParameters = DEFAULT_PARAMETERS,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Make the endpoint; see :class:`LocalEndpoint`."""
        super().__init__(sockaddr, family, security_mode, host, port, rng=rng, parameters=parameters, limits=limits)

    def _reset(self) -> None:
        self._wakeup: trio.CancelScope | None = None
        self._closed = trio.Event()
        self.is_closed = False
        super()._reset()

    async def wait_closed(self) -> None:
        """Wait until the endpoint is closed."""
        await self._closed.wait()

    def clock(self) -> float:
        """Return Trio's current time, in seconds."""
        return trio.current_time()

    def group_address(self, group: Endpoint, interfaces: Iterable[str]) -> EndpointAddress:
        """Return *group* as it is reached through *interfaces*, as the local address of messages to it.

        Raises:
          LocalProtocolError: if there is no such interface.
        """
        raise LocalProtocolError(f"{self!r} cannot choose interfaces")

    def close(self) -> None:
        """Close the endpoint: who waits for a response gets :exc:`trio.ClosedResourceError`.

        Closing twice is fine.  It does not block.
        """
        if self.is_closed:
            return
        self._closed.set()
        self.is_closed = True
        self._forget()
        self._close_transport()
        self.abandon()

    def _close_transport(self) -> None:
        """Release what the subclass holds."""

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise trio.ClosedResourceError(f"{self!r} is closed")

    def _wake_earlier(self, time_due: float) -> None:
        if self._wakeup is not None and time_due < self._wakeup.deadline:
            self._wakeup.deadline = time_due

    def _deliver(self, data: bytes, source: Endpoint, now: float, local_address: EndpointAddress | None = None) -> None:
        """Hand a datagram to the engine, whatever it is."""
        try:
            self.datagram_received(data, source, now, local_address)
        except MessageFormatError:
            pass  # Answered, counted and logged.
        except Exception:
            self._log_defect("a message from", source)

    def _deliver_error(self, remote: Endpoint, quoted: bytes, os_error: OSError, now: float) -> bool:
        """Hand an ICMP error to the engine, whatever it is; see :meth:`LocalEndpoint.error_received`."""
        try:
            return self.error_received(remote, quoted, os_error, now)
        except Exception:
            self._log_defect("an ICMP error about", remote)
            return True  # It was about a message of ours.

    def _log_defect(self, what: str, remote: Endpoint) -> None:
        # A defect of ours must not stop the service for everybody else.
        self.counters.rejected["an error of our own"] += 1
        _logger.exception("%s: processing %s %s failed", self.hostinfo, what, remote.hostinfo)

    async def _receive_task(self) -> None:
        """Hand over datagrams until cancelled, or until the endpoint is closed."""
        raise NotImplementedError

    async def _cache_task(self) -> None:
        """Do what is due, and sleep until the next thing is."""
        while not self.is_closed:
            next_due = self.process_due(trio.current_time())
            # Where more is due already, the deadline lies in the past, and this is just a checkpoint.
            with trio.CancelScope(deadline=next_due) as self._wakeup:
                await trio.sleep_forever()

    def _start_tasks(self, nursery: trio.Nursery) -> None:
        """Start the two tasks; a subclass may start more, as long as there is something for them to do."""
        nursery.start_soon(self._receive_task)
        nursery.start_soon(self._cache_task)

    async def _run(self, scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    self._start_tasks(nursery)
        except BaseExceptionGroup as group:
            raise_single(group)


@asynccontextmanager
async def run_endpoint(endpoint: DrivenEndpoint) -> AsyncIterator[None]:
    """Run the tasks of *endpoint* while the body runs, and close it then.

    When the scope around is cancelled, the body ends first.  An exception of the body comes out as itself.
    """
    scope = trio.CancelScope(shield=True)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint._run, scope)
            try:
                yield
            finally:
                endpoint.close()
                scope.cancel()
    except BaseExceptionGroup as group:
        raise_single(group)


def raise_single(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Raise the one exception in *group* as itself, with its own cause and context; of several, the group."""
    if len(group.exceptions) != 1:
        raise group
    exc = group.exceptions[0]
    context = exc.__context__
    try:
        raise exc
    finally:
        exc.__context__ = context
        del exc, context, group  # They would make a cycle with the traceback.
