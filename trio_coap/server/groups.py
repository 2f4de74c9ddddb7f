"""Requests to a group: whether they are answered at all (:rfc:`7252` section 8.2).

=======================================================  ====================================================
what a member would answer                               what happens
=======================================================  ====================================================
an error                                                 nothing, unless the request has a No-Response option
a success without content, to a GET or FETCH             likewise: there is nothing useful to say
anything, and a No-Response option is there              what the option says (:rfc:`7967` section 2.1): without a bit
                                                         for its class it is sent
the handler does not answer groups                       it does not even run
=======================================================  ====================================================

Rule 1: an answer goes as a NON, from an address of ours, at a random moment of DEFAULT_LEISURE; the message layer sees to that.
Rule 2: an unverified address is not challenged: it would take as many messages, and who joins a group answers those who
ask there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response

_READING = frozenset({Code.GET, Code.FETCH})


class GroupHandler(Protocol):
    """A handler that knows which of its resources answer requests to a group; a :class:`Site` is one."""

    def answers_group(self, request: Request) -> bool:
        """Return whether *request*, which came to a group, is processed."""


AnswersGroup = Callable[[Request], bool]
"""What :class:`GroupHandler` has."""


def is_suppressed(response: Response, request: Request) -> bool:
    """Return whether *response* to *request*, which came to a group, is not sent.

    What a No-Response option says is another matter; see :mod:`trio_coap.server.noresponse`.
    """
    if request.options.no_response is not None:
        return False
    if not response.code.is_success:
        return True
    return request.code in _READING and response.code == Code.CONTENT and not response.payload
