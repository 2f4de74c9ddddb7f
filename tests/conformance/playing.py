"""What the tests of the tables share: handlers that note what they are asked, and octets."""

from __future__ import annotations

from tests.server.stage import Stage
from trio_coap import ACK, CON, NON, RST, Code, Message, MessageType, Request, Response, Site

RESET = bytes.fromhex("70001234")
"""What answers a message with the message ID 0x1234 that is rejected."""

PING, PONG = bytes.fromhex("4000fffe"), bytes.fromhex("7000fffe")


class Calls:
    """What the handlers have been asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.site = Site()
        for code in (Code.GET, Code.PUT):
            self.site.resource("/r").method(code)(self.answer)
        self.site.put("/typed", consumes="text/plain")(self.answer)

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(payload=str(len(self.requests)), content_format=0)


def datagram(
    kind: MessageType, code: str = "01", rest: str = "b172", *, version: int = 1, token_length: int = 0
) -> bytes:
    return bytes((version << 6 | kind << 4 | token_length,)) + bytes.fromhex(f"{code}1234{rest}")


async def is_silent_on(stage: Stage, *messages: Message | bytes) -> bool:
    """Say whether nothing comes back, neither at once nor later.

    The ping behind them is answered first if the server has read them all and said nothing.  Silence alone would not show
    that: a slow machine is silent for a while in any case.
    """
    for message in messages:
        stage.send(message)
    if not await stage.peer.hears_nothing(300):
        return False
    stage.send(PING)
    return await stage.peer.receive_octets() == PONG


async def assert_format_error(stage: Stage, calls: Calls, code: str, rest: str, token_length: int = 0) -> None:
    """A CON is reset, anything else gets silence; each is counted."""
    con, *others = [datagram(kind, code, rest, token_length=token_length) for kind in (CON, NON, ACK, RST)]
    stage.send(con)
    assert await stage.peer.receive_octets() == RESET
    assert await is_silent_on(stage, *others)
    assert sum(stage.endpoint.statistics().rejected.values()) == 4
    assert calls.requests == []
