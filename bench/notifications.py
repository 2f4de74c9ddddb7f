"""Notifications a second to a hundred observers and a thousand (:rfc:`7641`).

The observers are one program in C, a socket for each; a POST of it changes the resource, and it sends the next one when all
observers have the new state, so that no state supersedes another.  What does not arrive in a second is counted as lost.

Rule: this package sends NON notifications at most once in a round trip (section 4.5.1), and in 3 s as long as that is not known.
So each observer gets a CON one before the measurement begins, after which the round trip is known.
"""

from __future__ import annotations

import asyncio
import math
import sys

import trio

from bench.children import MEASURED, OTHER, free_port, processor_time, python, require_aiocoap, running
from bench.load import build
from bench.rounds import Benchmark, Contestant, Goal, Measure
from trio_coap import Limits, NotificationPolicy, Request, Site, serve

STATE = b"hello world"
MAX_SENT = 10_000_000
"""Far more than the measurement sends: this package refuses to send more than 200,000 messages in their lifetime by default."""

NON, CON = "NON", "CON"


def make_site(type: str) -> Site:
    """Return a site of this package with ``/o/{number}`` and ``/tick``."""
    site = Site()

    @site.get("/o/{number:int}", observable=NotificationPolicy())
    def state(request: Request, number: int) -> bytes:
        return STATE

    resource = site.resource("/o/{number:int}")

    @site.post("/tick")
    def tick(request: Request) -> None:
        if request.payload:
            resource.notify(number=int(request.text))
            return
        assert resource.observable is not None
        if type == NON:
            resource.observable.policy = NotificationPolicy(confirmable=False, max_non=MAX_SENT)
        resource.notify()

    return site


async def serve_ours(type: str) -> None:
    """Serve the site with this package, and say the port."""
    site = make_site(type)
    limits = Limits(max_sent=MAX_SENT, max_sent_octets=MAX_SENT * 100)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: serve(site, "127.0.0.1", 0, limits=limits, task_status=task_status)
        )
        print(server.endpoint.port, flush=True)


async def serve_aiocoap(type: str) -> None:
    """Serve ``/o`` and ``/tick`` with aiocoap, and say the port."""
    import aiocoap
    from aiocoap import resource

    tuning = aiocoap.Reliable() if type == CON else aiocoap.Unreliable()

    class State(resource.ObservableResource):  # type: ignore[misc]
        async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
            return aiocoap.Message(code=aiocoap.CONTENT, payload=STATE, transport_tuning=tuning)

    class Tick(resource.Resource):  # type: ignore[misc]
        async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
            state.updated_state()
            return aiocoap.Message(code=aiocoap.CHANGED)

    state = State()
    site = resource.Site()
    site.add_resource(["o"], state)
    site.add_resource(["tick"], Tick())
    port = free_port()
    await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
    print(port, flush=True)
    await asyncio.get_running_loop().create_future()


def measure(name: str, observers: int, seconds: float) -> dict[str, float]:
    """Return notifications a second, NON and CON, of a server in a process of its own.

    Raises:
      RuntimeError: if more than one in a hundred is lost.
    """
    if name == "aiocoap":
        require_aiocoap()
    program = str(build("observers"))
    figures = {}
    for type in (NON, CON):
        with running(python("notifications", name, type), MEASURED) as server:
            port = server.read()
            is_numbered = int(name == "ours")
            processor_started_at = processor_time(server.process.pid)
            with running([program, port, str(observers), str(seconds), str(is_numbered)], OTHER) as sink:
                notifications, elapsed, lost = map(float, sink.read().split())
            processor = processor_time(server.process.pid) - processor_started_at
        if lost > notifications / 100:
            raise RuntimeError(f"{lost:,.0f} notifications were lost, {notifications:,.0f} arrived")
        figures[type] = notifications / elapsed
        if not math.isnan(processor):
            figures[f"{type}, CPU"] = processor / notifications * 1e6
    return figures


def make_benchmark(observers: int, seconds: float) -> Benchmark:
    """Return the benchmark with so many observers."""
    contestants: dict[str, Contestant] = {
        "ours": lambda: measure("ours", observers, seconds),
        "aiocoap": lambda: measure("aiocoap", observers, seconds),
    }
    goals = (
        Goal("notifications, NON, 100 observers, times aiocoap", "ours", "aiocoap", NON, 2.5, 4),
        Goal("notifications, CON, 100 observers, times aiocoap", "ours", "aiocoap", CON, 4, 6),
    )
    return Benchmark(
        f"notifications-{observers}",
        f"Notifications to {observers:,} observers",
        (
            Measure(NON, "1/s", is_higher_better=True),
            Measure(CON, "1/s", is_higher_better=True),
            Measure(f"{NON}, CPU", "µs"),
            Measure(f"{CON}, CPU", "µs"),
        ),
        contestants,
        reference="aiocoap",
        goals=goals if observers == 100 else (),
        notes=(
            "The next change comes when all observers have the state before it. The handler runs for each observer.",
            "CPU: of the server for one notification; registrations, the changes themselves and acknowledgements are part of it.",
            "trio_coap keeps to one NON in a round trip; aiocoap sends as it likes. The limit of sent messages is raised.",
        ),
    )


def benchmarks(is_full: bool) -> list[Benchmark]:
    """See :mod:`bench.__main__`."""
    return [make_benchmark(100, 3.0), make_benchmark(1000, 5.0)] if is_full else [make_benchmark(100, 0.5)]


if __name__ == "__main__":
    if sys.argv[1] == "aiocoap":
        asyncio.run(serve_aiocoap(sys.argv[2]))
    else:
        trio.run(serve_ours, sys.argv[2])
