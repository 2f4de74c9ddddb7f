"""The server of ours that is measured: a site with one resource, as a reader of the tutorial would write it.

Run as ``python -m bench.ours HOST PORT plain|task`` with, on request, ``--remember N``: raise the limits of the memory of
duplicates to N exchanges; ``--lifetime S``: forget exchanges after S seconds.  Without these everything has its default.
"""

from __future__ import annotations

import argparse
import sys

import trio

from trio_coap import Limits, Request, Site, TransmissionParameters, serve
from trio_coap.messaging.parameters import DEFAULT_LIMITS, DEFAULT_PARAMETERS

PAYLOAD = b"hello world"
OCTETS_PER_EXCHANGE = 1024
"""For the octets that may be remembered: far more than a short exchange has."""


def make_site(kind: str) -> Site:
    """Return a site with ``/t``, whose handler is a plain function or runs in a task."""
    site = Site()
    if kind == "task":

        @site.get("/t")
        async def answer_in_task(request: Request) -> bytes:
            return PAYLOAD

    else:

        @site.get("/t")
        def answer(request: Request) -> bytes:
            return PAYLOAD

    return site


def limits(remembered: int | None) -> Limits:
    """Return limits under which so many exchanges are remembered."""
    if remembered is None:
        return DEFAULT_LIMITS
    return Limits(max_remembered=remembered, max_remembered_octets=remembered * OCTETS_PER_EXCHANGE)


def parameters(lifetime: float | None) -> TransmissionParameters:
    """Return parameters with an EXCHANGE_LIFETIME of so many seconds."""
    if lifetime is None:
        return DEFAULT_PARAMETERS
    # With nothing repeated, it is two latencies and ACK_TIMEOUT.
    quarter = lifetime / 4
    return TransmissionParameters(max_retransmit=0, ack_timeout=2 * quarter, max_latency=quarter)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.ours")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("kind", choices=("plain", "task"))
    parser.add_argument("--remember", type=int)
    parser.add_argument("--lifetime", type=float)
    options = parser.parse_args()

    async def run() -> None:
        await serve(
            make_site(options.kind),
            options.host,
            options.port,
            limits=limits(options.remember),
            parameters=parameters(options.lifetime),
        )

    try:
        trio.run(run)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
