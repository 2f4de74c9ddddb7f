"""The resources of the plugtests that change by themselves, and can be observed (:rfc:`7641`).

Rule: whoever changes a state says so with one call; who is told, and how, is the server's business.
"""

from __future__ import annotations

import math
from typing import final

import trio

from trio_coap.cli.plugtest_storage import Stored, store_labelled
from trio_coap.server import NotificationPolicy, Site
from trio_coap.wire.message import Request, Response

LARGE_LINES = 8
"""Lines of ``/obs-large``, each of more than 16 octets: several blocks of up to 64."""


@final
class ChangingResource:
    """A text that another one follows in each period.

    What is put in its place stays until then.  Another Content-Format ends the observations with 4.06, which the server
    finds out by itself (:rfc:`7641` section 4.2); DELETE ends them with 4.04, and the resource is there again at once.
    """

    def __init__(self, site: Site, path: str, period: float, policy: NotificationPolicy, lines: int = 1) -> None:
        """Make the resource.

        Args:
          site, path: where.
          period: seconds from one text to the next.
          policy: how observers are notified.
          lines: how long a text is.
        """
        self._resource = site.resource(path, observable=policy, title=f"Changes every {period:g} s")
        self._resource.get(self.read)
        self._resource.put(self.write)
        self._resource.delete(self.delete)
        self._max_age = math.ceil(period)
        self._lines = lines
        self._number = 0
        self._put: Stored | None = None

    def change(self) -> None:
        """Go on to the next text."""
        self._number += 1
        self._put = None
        self._resource.notify()

    def read(self, request: Request) -> Response:
        """Answer GET, and make a notification."""
        current = self._put or Stored(f"state {self._number} of this one\n" * self._lines)
        return current.to_response().replace(max_age=self._max_age)

    def write(self, request: Request) -> None:
        """Answer PUT."""
        self._put = store_labelled(request)
        self._resource.notify()

    def delete(self, request: Request) -> None:
        """Answer DELETE."""
        self._put = None
        self._resource.end()


@final
class ChangingResources:
    """``/obs``, ``/obs-non`` and ``/obs-large``."""

    def __init__(self, site: Site, period: float) -> None:
        """Make them; see :class:`ChangingResource`."""
        self._period = period
        self._resources = (
            ChangingResource(site, "/obs", period, NotificationPolicy()),
            ChangingResource(site, "/obs-non", period, NotificationPolicy(confirmable=False)),
            ChangingResource(site, "/obs-large", period, NotificationPolicy(), LARGE_LINES),
        )

    async def run(self) -> None:
        """Change them in each period until cancelled."""
        while True:
            await trio.sleep(self._period)
            for resource in self._resources:
                resource.change()
