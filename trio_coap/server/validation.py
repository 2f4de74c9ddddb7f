"""Responses that the client has already (:rfc:`7252` sections 5.9.1.3 and 5.10.6.2).

Rule 1: a 2.05 whose ETag the client names becomes a 2.03 with that ETag, and without what it has.  Rule 2: whoever
made the response, and for whichever method; for a notification too (:rfc:`7641` section 4.3.2).
"""

from __future__ import annotations

from trio_coap.server.representations import octets_etag
from trio_coap.wire.codes import Code
from trio_coap.wire.message import Request, Response

_OF_THE_BODY = (12, 23, 28)
"""Content-Format, Block2 and Size2: the client has them with the body."""


def validate(response: Response, request: Request) -> Response:
    """Return the 2.03 in place of *response*, if *request* says that the client has that; otherwise *response*.

    A body without an ETag is compared by the one that it gets when it goes in blocks.
    """
    known = request.options.etags
    block = response.options.block2
    if not known or response.code != Code.CONTENT or (block is not None and block.number):
        return response
    etag = response.options.etag
    if etag is None and response.payload:
        etag = octets_etag(response.payload, response.options.content_format)
    if etag not in known:
        return response
    return Response(Code.VALID, options=response.options.without(*_OF_THE_BODY).replace(etag=etag))
