"""What is said about an error: one sentence that says what to do.

It knows the errors of client and message layer, so it is imported when there is one.
"""

from __future__ import annotations

import errno
import socket

from trio_coap.cli.describe import printable
from trio_coap.cli.problems import FAILURE, USAGE, CommandFailure, UsageError, exit_status
from trio_coap.client import BodyTooLarge, UnprocessableResponse
from trio_coap.messaging.errors import DeliveryError, NetworkError, ResetReceived, TransmissionTimeout
from trio_coap.wire.errors import CoapError, RemoteProtocolError
from trio_coap.wire.response_errors import ResponseError

_NO_WAY = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN, errno.EHOSTDOWN})
_NO_ADDRESS = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def explain(exc: Exception, host: str = "") -> tuple[str, int] | None:
    """Return what to say about *exc*, and the exit status; None for a defect of ours.

    Args:
      exc: what came up.
      host: the host of the URI, for what does not resolve.
    """
    if isinstance(exc, UsageError):
        sentence, status = str(exc), USAGE
    elif isinstance(exc, CommandFailure):
        sentence, status = str(exc), FAILURE
    elif isinstance(exc, socket.gaierror):
        sentence, status = _unresolved(exc, host), FAILURE
    elif isinstance(exc, DeliveryError):
        sentence, status = _undelivered(exc), FAILURE
    elif isinstance(exc, UnprocessableResponse):
        sentence, status = f"{exc}, so that nothing of it can be used", exit_status(exc.response.code) or FAILURE
    elif isinstance(exc, BodyTooLarge):
        sentence, status = f"{exc}: write it to a file with -O", FAILURE
    elif isinstance(exc, ResponseError):
        sentence, status = str(exc), exit_status(exc.code)
    elif isinstance(exc, RemoteProtocolError):
        sentence, status = f"the peer did not keep to the protocol: {exc}", FAILURE
    elif isinstance(exc, CoapError):
        sentence, status = str(exc), USAGE
    elif isinstance(exc, OSError):
        sentence, status = f"the system says: {exc.strerror or exc}", FAILURE
    else:
        return None
    return printable(sentence, one_line=True), status


def _unresolved(exc: socket.gaierror, host: str) -> str:
    address, percent, zone = host.partition("%")
    if percent:
        return f"there is no network interface {zone!r} for {address}: 'ip link' lists those that there are"
    name = f"the name {host!r}" if host else "the name of the host"
    if exc.errno in _NO_ADDRESS:
        return f"{name} does not resolve: check its spelling, or write an address, as in coap://[2001:db8::1]/"
    return f"{name} does not resolve now ({exc.strerror}): try again, or write an address, as in coap://[2001:db8::1]/"


def _undelivered(exc: DeliveryError) -> str:
    remote = exc.destination_endpoint
    if isinstance(exc, TransmissionTimeout):
        times = "once" if exc.transmissions == 1 else f"{exc.transmissions} times"
        return (
            f"nobody answers at {remote.uri}: sent {times} in {exc.elapsed:.3g} s; "
            "check address and port, and that a server runs there"
        )
    if isinstance(exc, ResetReceived):
        return f"{remote.uri} rejected the message with a Reset: it does not serve requests, or does not understand it"
    if not isinstance(exc, NetworkError):
        return str(exc)
    number = exc.os_error.errno
    if number == errno.ECONNREFUSED:
        return (
            f"{remote.uri} refuses: nothing listens on UDP port {remote.port} there; start a server or change the port"
        )
    if number == errno.EMSGSIZE:
        return f"the message to {remote.uri} does not fit into a datagram: send less at a time"
    if number in _NO_WAY:
        return f"there is no way to {remote.uri} ({exc.os_error.strerror}): check the address and your network"
    return f"sending to {remote.uri} failed: {exc.os_error.strerror or exc.os_error}"
