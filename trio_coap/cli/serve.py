"""``coap serve``: the files of a directory, for whoever asks.

Rule 1: it says where it listens when it does, and ends well when somebody ends it.  Rule 2: clients that keep files open,
by not coming to an end, get 5.03 before the system has no descriptor left for others.
"""

from __future__ import annotations

import errno
import resource
import time
from argparse import Namespace
from contextlib import suppress
from functools import partial

import attrs
import trio

from trio_coap.cli.describe import request_path
from trio_coap.cli.files import FileHandler
from trio_coap.cli.problems import SUCCESS, CommandFailure, UsageError
from trio_coap.cli.signals import Ending, watch_signals
from trio_coap.cli.streams import say
from trio_coap.cli.tree import Tree
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.server import BlockLimits, serve
from trio_coap.transports.driver import raise_single, run_endpoint
from trio_coap.transports.udp.endpoint import SocketEndpoint
from trio_coap.transports.udp.groups import ALL_COAP_NODES
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request

DESCRIPTORS_PER_BODY = 3
"""One for a file that is read, two for one that is written, with its directory: so many bodies may go each way."""

RESERVED_DESCRIPTORS = 160
"""For the rest: forty threads that walk through directories, the socket, the standard streams."""


def run_serve(arguments: Namespace) -> int:
    """Serve the directory that *arguments* name until a signal comes, and return the exit status."""
    host, port = arguments.bind
    try:
        tree = Tree(arguments.directory)
    except OSError as exc:
        raise UsageError(f"the directory {arguments.directory!r} cannot be served: {exc.strerror}") from exc
    try:
        handler = FileHandler(
            tree,
            may_write=arguments.write,
            max_body=arguments.max_body,
            log=_say_request if arguments.verbose else None,
        )
        trio.run(_run, handler, host or "::", port, arguments)
    finally:
        tree.close()
    return SUCCESS


async def _run(handler: FileHandler, host: str, port: int, arguments: Namespace) -> None:
    # A file of the largest size may be on its way from everybody who writes; none of them is held in memory.
    bodies = claim_descriptors()
    limits = attrs.evolve(BlockLimits(), max_body=arguments.max_body, max_bodies=bodies)
    try:
        endpoint = await _bind(host, port)
        async with run_endpoint(endpoint), trio.open_nursery() as nursery:
            if endpoint.is_unspecified:
                join_groups(endpoint)
            await nursery.start(watch_signals, Ending(), nursery.cancel_scope, endpoint.close)
            nursery.start_soon(handler.watching.run)
            server = await nursery.start(
                partial(serve, handler, endpoint=endpoint, max_running_handlers=bodies, block_limits=limits)
            )
            print(f"listening on {server.uri}", flush=True)
    except BaseExceptionGroup as group:
        raise_single(group)


def join_groups(endpoint: SocketEndpoint) -> None:
    """Have a server that listens on all addresses be found by ``coap discover``."""
    for group in ALL_COAP_NODES:
        if endpoint.capabilities.ipv6_groups if ":" in group else endpoint.capabilities.ipv4_groups:
            endpoint.join_group(group)


def claim_descriptors() -> int:
    """Have the system grant us what the usual number of bodies takes, if it does; return how many may go each way."""
    usual = BlockLimits().max_bodies
    wanted = RESERVED_DESCRIPTORS + DESCRIPTORS_PER_BODY * usual
    granted, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted != resource.RLIM_INFINITY and granted < wanted:
        granted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        with suppress(OSError, ValueError):  # Then it stays as it is.
            resource.setrlimit(resource.RLIMIT_NOFILE, (granted, most))
        granted = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if granted == resource.RLIM_INFINITY:
        return usual
    return max(1, min(usual, (granted - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_BODY))


async def _bind(host: str, port: int) -> SocketEndpoint:
    """Return an endpoint at the first address that *host* stands for.

    Raises:
      CommandFailure: if it is not to be had.
    """
    address, *_ = await Endpoint.resolve(host, port)
    try:
        return SocketEndpoint.create_bound_endpoint(sockaddr=address.sockaddr)
    except OSError as exc:
        reasons = {
            errno.EADDRINUSE: "somebody listens there already: choose another port, or --bind :0 for one that is free",
            errno.EADDRNOTAVAIL: "this host does not have that address: --bind :5683 listens on all that it has",
            errno.EACCES: "that port is for the administrator: choose one above 1023",
        }
        reason = reasons.get(exc.errno or 0, exc.strerror or str(exc))
        raise CommandFailure(f"listening on {address.hostinfo} is not possible, as {reason}") from exc


def _say_request(request: Request, code: Code) -> None:
    remote = request.source_endpoint
    whence = remote.hostinfo if isinstance(remote, Endpoint) else ""
    name = request.code.name or request.code.dotted
    say(f"{time.strftime('%H:%M:%S')} {whence} {name} {request_path(request)}: {code}")
