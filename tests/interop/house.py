"""The server of ours that the clients of others ask, and the parameters that keep the tests short."""

from __future__ import annotations

from functools import partial

import attrs
import trio

from trio_coap import NotFound, Request, Response, Server, Site, TransmissionParameters, serve

HASTY = TransmissionParameters(empty_ack_delay=0.02)
"""Acknowledges early, so that a slow handler need not be very slow."""

SLOW = 0.3
"""What an ``async def`` handler takes, in seconds: the empty acknowledgement goes out long before, busy machine or not."""


@attrs.define(eq=False)
class House:
    """A served site that remembers which of its handlers ran."""

    calls: list[str] = attrs.Factory(list)
    """Method and path of each request, in the order in which the handlers were called."""

    requests: list[Request] = attrs.Factory(list)
    """The same requests as they came."""

    notes: dict[str, Response] = attrs.Factory(dict)
    counts: dict[str, int] = attrs.Factory(dict)
    server: Server | None = None

    @property
    def uri(self) -> str:
        assert self.server is not None
        return self.server.uri

    def site(self) -> Site:
        site = Site()
        site.get("/note/{name}")(self.read_note)
        site.put("/note/{name}")(self.write_note)
        site.delete("/note/{name}")(self.remove_note)
        site.post("/count/{name}")(self.count)
        site.get("/slow")(self.slow)
        site.get("/slow/{name}")(self.slow)
        site.get("/reading")(self.reading)
        return site

    def _record(self, request: Request) -> None:
        self.calls.append(f"{request.code.name} /{'/'.join(request.options.uri_path)}")
        self.requests.append(request)

    def read_note(self, request: Request, name: str) -> Response:
        self._record(request)
        if name not in self.notes:
            raise NotFound(f"there is no note {name}")
        return self.notes[name]

    def write_note(self, request: Request, name: str) -> None:
        self._record(request)
        self.notes[name] = Response(payload=request.payload, content_format=request.options.content_format)

    def remove_note(self, request: Request, name: str) -> None:
        self._record(request)
        self.notes.pop(name, None)

    def count(self, request: Request, name: str) -> str:
        self._record(request)
        self.counts[name] = self.counts.get(name, 0) + 1
        return str(self.counts[name])

    async def slow(self, request: Request, name: str = "") -> str:
        self._record(request)
        await trio.sleep(SLOW)
        return f"late{name}"

    def reading(self, request: Request) -> Response:
        self._record(request)
        if request.options.accept == 50:
            return Response(payload='{"celsius":21}', content_format=50)
        return Response(payload="21 °C")


async def open_house(nursery: trio.Nursery, host: str, parameters: TransmissionParameters = HASTY) -> House:
    """Serve in *nursery* until that is cancelled."""
    house = House()
    house.server = await nursery.start(partial(serve, house.site(), host, 0, parameters=parameters))
    return house
