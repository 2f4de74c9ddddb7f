"""Responses that a client does not want (:rfc:`7967`).

=======================================================  ====================================================
what the client says                                     what happens
=======================================================  ====================================================
no option, an empty one, or 0                            every response goes out
the bit of the response's class: 2, 8, 16                of a CON request an empty ACK goes out instead, at once;
                                                         of a NON request, nothing
a registration for notifications, without 2.xx           the request is answered, or not, like one without Observe:
                                                         who does not want the state does not want it again
a registration, without 4.xx or 5.xx                     that goes for the response to it; a notification that ends
                                                         the observation is sent: nobody else says that it is over
=======================================================  ====================================================

Rule: the option is about responses of the server as a whole, so that those that no handler gave, 4.02 or 5.03 say,
obey it too.  In a request to a group it could also ask for responses that are suppressed there without it (section 2.1);
see :mod:`trio_coap.server.groups`.
"""

from __future__ import annotations

from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request

_NOT_SUCCESS = 0b00010

_UNWANTED_BIT = {2: _NOT_SUCCESS, 4: 0b01000, 5: 0b10000}
"""By the class of a response (section 2.1, table 2)."""


def is_unwanted(code: Code, unwanted: int | None) -> bool:
    """Return whether a client does not want a response with *code*, if its No-Response option is *unwanted*."""
    return bool(unwanted and unwanted & _UNWANTED_BIT.get(code >> 5, 0))


def wants_success(request: Request) -> bool:
    """Return whether the client wants responses of class 2."""
    unwanted = request.options.no_response
    return not unwanted or not unwanted & _NOT_SUCCESS
