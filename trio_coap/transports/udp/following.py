"""The groups of one endpoint, on interfaces that come, go and come back while it runs.

Rule 1: the kernel tells of interfaces, and a task of the endpoint's nursery listens to it while there are groups.  Rule 2:
where it does not tell, a timer among the entries looks from time to time; what goes and comes back in between with the same
index is missed then.  Rule 3: an interface that has gone is left before it is joined again: the kernel keeps a socket's
memberships by their index, and takes a new interface under that index for one that is joined already.  Rule 4: groups
outlive the socket, and are joined again on the next one.  Rule 5: a system that is short of something is asked again
later, whoever noticed it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, final

import trio

from trio_coap.messaging.endpoint import Endpoint
from trio_coap.messaging.queue import DueQueue
from trio_coap.messaging.timer import Timer
from trio_coap.transports.udp.groups import Memberships
from trio_coap.transports.udp.netlink import InterfaceWatch, News

_logger = logging.getLogger(__name__)

LOOK_INTERVAL = 10.0
"""How often to look for new interfaces where the kernel does not tell, and when to try again, in seconds."""

GATHERING = 0.1
"""For how long news are left to gather once some have come, in seconds: a host of containers has many of them."""


@final
class GroupFollower:
    """The groups that one endpoint is in, or is to be in as soon as it can."""

    def __init__(self, queue: DueQueue[Any]) -> None:
        """Begin without any.

        Args:
          queue: of the endpoint, for the timer.
        """
        self._memberships: Memberships | None = None
        self._wanted: dict[Endpoint, tuple[str, ...] | None] = {}
        self._watch: InterfaceWatch | None = None
        self._nursery: trio.Nursery | None = None
        self._timer = Timer(queue, self._look)

    def use_socket(self, sock: socket.socket | None) -> None:
        """Be in the same groups with another socket; without one, join them when there is one again."""
        if self._memberships is not None:
            self._wanted = self._memberships.wanted
        self._memberships = None
        if sock is not None and self._wanted:
            self._memberships = Memberships(sock)
            self._memberships.rejoin(self._wanted)

    def run_in(self, nursery: trio.Nursery) -> None:
        """Start the task in *nursery*, now or when the first group is joined."""
        self._nursery = nursery
        if self._watch is not None:
            nursery.start_soon(self._follow_task, self._watch)

    def join(self, sock: socket.socket, group: Endpoint, names: Iterable[str] | None, now: float) -> None:
        """Join *group*; see :meth:`Memberships.join`."""
        # Before it looks at the interfaces: what comes in between is news.
        self._follow(now)
        if self._memberships is None:
            self._memberships = Memberships(sock)
        try:
            self._memberships.join(group, names)
        finally:
            self._stop_if_idle()

    def leave(self, group: Endpoint) -> None:
        """Leave *group*; leaving twice is fine."""
        self._wanted.pop(group, None)
        if self._memberships is not None:
            self._memberships.leave(group)
        self._stop_if_idle()

    def close(self) -> None:
        """Follow no more; the memberships go with the socket."""
        self._timer.stop()
        watch, self._watch = self._watch, None
        if watch is None:
            return
        with suppress(RuntimeError):  # Outside of a Trio program nobody waits.
            trio.lowlevel.notify_closing(watch)
        watch.close()

    def _stop_if_idle(self) -> None:
        if not (self._wanted if self._memberships is None else self._memberships.wanted):
            self.close()

    def _follow(self, now: float) -> None:
        if self._watch is not None or self._timer.queue_time is not None:
            return
        try:
            self._watch = InterfaceWatch()
        except OSError as exc:
            _logger.info("looking for new interfaces every %g s: %s", LOOK_INTERVAL, exc)
            self._timer.start(now + LOOK_INTERVAL)
            return
        if self._nursery is not None:
            self._nursery.start_soon(self._follow_task, self._watch)

    async def _follow_task(self, watch: InterfaceWatch) -> None:
        """Join on interfaces that the kernel tells of, until *watch* is closed."""
        while watch is self._watch:
            try:
                await trio.lowlevel.wait_readable(watch)
            except trio.ClosedResourceError:
                return
            try:
                news = watch.read()
            except OSError as exc:
                _logger.warning("there are no more news of interfaces: %s", exc)
                self.close()
                self._look(trio.current_time())
                return
            if news is not None:
                self._take(news)
            await trio.sleep(GATHERING)

    def _take(self, news: News) -> None:
        if news.is_incomplete:
            _logger.debug("news of interfaces were lost; joining again on all of them")
        self._renew(None if news.is_incomplete else news.gone, trio.current_time())

    def _look(self, now: float) -> None:
        self._renew(frozenset(), now)
        if self._watch is None:
            self._timer.start(now + LOOK_INTERVAL)

    def _renew(self, gone: frozenset[int] | None, now: float) -> None:
        """Join on interfaces that have come, and again where some may have gone, on all for None."""
        if self._memberships is None:
            return
        try:
            self._memberships.renew(gone)
        except OSError as exc:  # There is no descriptor left to ask with, say.
            _logger.warning("cannot look at the interfaces: %s", exc)
            self._timer.start(now + LOOK_INTERVAL)
