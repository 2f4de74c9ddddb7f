"""The example exchanges of RFC 7252 Appendix A, by figure number, message by message.

The appendix ends with Figure 23.  Its client and servers are bare engines here: time is virtual, and which datagrams
are lost the figures say.
"""

from __future__ import annotations

import attrs
import pytest

from tests.messaging.engine import Datagram, EngineEndpoint, Fate, Network, Server, Waiter, content, make_engine
from trio_coap.messaging.endpoint import Endpoint
from trio_coap.wire.codes import ACK, CON, NON, RST, Code, MessageType
from trio_coap.wire.message import Message, Request, Response

CLIENT = Endpoint(("2001:db8::c", 5683))
SERVER = Endpoint(("2001:db8::5", 5683))
ALL_NODES = Endpoint(("ff02::1", 5683))
LATENCY = 0.01


@attrs.frozen
class Arrow:
    """One arrow of a figure."""

    sender: Endpoint
    receiver: Endpoint
    type: MessageType
    code: str
    message_id: int
    token: bytes = b""
    uri_path: tuple[str, ...] = ()
    payload: bytes = b""


def arrow_of(datagram: Datagram) -> Arrow:
    message = datagram.message
    # The figures show no other option than Uri-Path.
    assert {number for number, _ in message.options} <= {11}
    return Arrow(
        datagram.source,
        datagram.destination,
        message.type,
        message.code.dotted,
        message.message_id or 0,
        message.token,
        message.options.uri_path,
        message.payload,
    )


class Figure:
    """A client and a server, and what goes to and fro between them.

    Attributes:
      lost: the numbers of the datagrams that are lost, the first one is 0.
    """

    def __init__(self, *, client_id: int, server_id: int = 0, lost: set[int] | None = None) -> None:
        self.lost = lost or set()
        self.network = Network(self._fates)
        self.client = self.network.join(make_engine(CLIENT.sockaddr, seed=1))
        self.server = self.network.join(make_engine(SERVER.sockaddr, seed=2))
        self.handler = Server()
        self.server.request_listener = self.handler
        self.waiter = Waiter()
        self.fate = Fate()
        start_message_ids(self.client, SERVER, client_id)
        start_message_ids(self.server, CLIENT, server_id)

    def _fates(self, datagram: Datagram) -> tuple[float, ...]:
        return () if len(self.network.trace) - 1 in self.lost else (LATENCY,)

    def get_temperature(self, token: bytes = b"", type: MessageType = CON) -> None:
        request = Request(Code.GET, type=type, token=token, uri_path=["temperature"])
        self.client.tokens[SERVER, token] = self.waiter
        self.client.send(request, SERVER, listener=self.fate)

    def run(self, seconds: float = 10.0) -> None:
        self.network.run_until(self.network.now + seconds)

    @property
    def arrows(self) -> list[Arrow]:
        return [arrow_of(datagram) for datagram in self.network.trace]

    @property
    def octets(self) -> list[str]:
        return [datagram.data.hex() for datagram in self.network.trace]

    @property
    def times(self) -> list[float]:
        return [datagram.at for datagram in self.network.trace]


def start_message_ids(engine: EngineEndpoint, remote: Endpoint, message_id: int) -> None:
    """Let the next message to *remote* have the ID that the figure gives it, instead of a random one."""
    engine.remote_state(remote)._next_message_id = message_id


def to_server(message_id: int, token: bytes, type: MessageType = CON) -> Arrow:
    return Arrow(CLIENT, SERVER, type, "0.01", message_id, token, ("temperature",))


def to_client(type: MessageType, message_id: int, token: bytes) -> Arrow:
    return Arrow(SERVER, CLIENT, type, "2.05", message_id, token, (), b"22.3 C")


def test_figure_16_confirmable_request_piggybacked_response() -> None:
    figure = Figure(client_id=0x7D34)
    figure.handler.answer = content()
    figure.get_temperature()
    figure.run()
    assert figure.arrows == [to_server(0x7D34, b""), to_client(ACK, 0x7D34, b"")]
    # Version 1, CON, token length 0, GET, message ID; option delta and length 11, "temperature".
    assert figure.octets[0] == "40017d34" + "bb" + b"temperature".hex()
    # Version 1, ACK, token length 0, 2.05, message ID; payload marker, "22.3 C".
    assert figure.octets[1] == "60457d34" + "ff" + b"22.3 C".hex()
    assert [len(datagram.data) for datagram in figure.network.trace] == [16, 11]
    (response,) = figure.waiter.responses
    assert response.payload == b"22.3 C"


def test_figure_17_confirmable_request_piggybacked_response_with_a_token() -> None:
    figure = Figure(client_id=0x7D35)
    figure.handler.answer = content()
    figure.get_temperature(b"\x20")
    figure.run()
    assert figure.arrows == [to_server(0x7D35, b"\x20"), to_client(ACK, 0x7D35, b"\x20")]
    assert figure.octets[0] == "41017d35" + "20" + "bb" + b"temperature".hex()
    assert figure.octets[1] == "61457d35" + "20" + "ff" + b"22.3 C".hex()
    assert [len(datagram.data) for datagram in figure.network.trace] == [17, 12]
    assert len(figure.waiter.responses) == 1


def test_figure_18_confirmable_request_retransmitted_piggybacked_response() -> None:
    figure = Figure(client_id=0x7D36, lost={0})
    figure.handler.answer = content()
    figure.get_temperature(b"\x31")
    figure.run()
    request = to_server(0x7D36, b"\x31")
    assert figure.arrows == [request, request, to_client(ACK, 0x7D36, b"\x31")]
    assert 2 <= figure.times[1] <= 3
    assert len(figure.handler.entries) == len(figure.waiter.responses) == 1


def test_figure_19_confirmable_request_piggybacked_response_retransmitted() -> None:
    figure = Figure(client_id=0x7D37, lost={1})
    figure.handler.answer = content()
    figure.get_temperature(b"\x42")
    figure.run()
    request, response = to_server(0x7D37, b"\x42"), to_client(ACK, 0x7D37, b"\x42")
    assert figure.arrows == [request, response, request, response]
    assert 2 <= figure.times[2] <= 3
    assert len(figure.handler.entries) == len(figure.waiter.responses) == 1


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_figure_20_confirmable_request_separate_response(is_overtaken: bool) -> None:
    """The acknowledgement and the response do not necessarily arrive in the same order as they were sent."""
    figure = Figure(client_id=0x7D38, server_id=0xAD7B)
    if is_overtaken:
        figure.network.fates = lambda datagram: (1.2 if datagram.message.is_empty else LATENCY,)
    figure.get_temperature(b"\x53")
    figure.run(1.0)
    (entry,) = figure.handler.entries
    entry.respond(Response(Code.CONTENT, b"22.3 C"), figure.network.now)
    figure.run()
    assert figure.arrows == [
        to_server(0x7D38, b"\x53"),
        Arrow(SERVER, CLIENT, ACK, "0.00", 0x7D38),
        to_client(CON, 0xAD7B, b"\x53"),
        Arrow(CLIENT, SERVER, ACK, "0.00", 0xAD7B),
    ]
    (response,) = figure.waiter.responses
    assert response.payload == b"22.3 C"
    assert len(figure.fate.acknowledged) == 1


def test_figure_21_confirmable_request_separate_response_unexpected() -> None:
    figure = Figure(client_id=0x7D39, server_id=0xAD7C)
    figure.get_temperature(b"\x64")
    # The client crashes, and is rebooted without its state.
    figure.network.leave(figure.client)
    rebooted = figure.network.join(make_engine(CLIENT.sockaddr, seed=3))
    figure.run(1.0)
    (entry,) = figure.handler.entries
    fate = Fate()
    entry.respond(Response(Code.CONTENT, b"22.3 C"), figure.network.now, listener=fate)
    figure.run()
    assert figure.arrows == [
        to_server(0x7D39, b"\x64"),
        Arrow(SERVER, CLIENT, ACK, "0.00", 0x7D39),
        to_client(CON, 0xAD7C, b"\x64"),
        Arrow(CLIENT, SERVER, RST, "0.00", 0xAD7C),
    ]
    assert not figure.waiter.responses
    assert len(fate.failures) == 1
    assert rebooted.statistics().rejected == {
        "an acknowledgement for nothing that was sent": 1,
        "a response with an unknown token": 1,
    }


def test_figure_22_non_confirmable_request_non_confirmable_response() -> None:
    figure = Figure(client_id=0x7D40, server_id=0xAD7D)
    figure.handler.answer = content()
    figure.get_temperature(b"\x75", type=NON)
    figure.run(1000)
    assert figure.arrows == [to_server(0x7D40, b"\x75", NON), to_client(NON, 0xAD7D, b"\x75")]
    assert len(figure.waiter.responses) == 1


@pytest.mark.parametrize("lost", [{0}, {1}])
def test_figure_22_both_may_be_lost_without_notice(lost: set[int]) -> None:
    figure = Figure(client_id=0x7D40, server_id=0xAD7D, lost=lost)
    figure.handler.answer = content()
    figure.get_temperature(b"\x75", type=NON)
    figure.run(1000)
    assert len(figure.network.trace) == 1 + max(lost)
    assert not figure.waiter.responses
    assert not figure.fate.failures


def test_figure_23_non_confirmable_request_multicast_non_confirmable_response() -> None:
    """That servers let some time pass before they answer is for the layer above: here they answer one by one."""
    names = {"A": 0x60B1, "B": 0x01A0, "C": 0x952A}
    members = {name: Endpoint((f"2001:db8::{name}1", 5683)) for name in names}
    network = Network(lambda datagram: () if datagram.source is members["B"] else (LATENCY,))
    client = network.join(make_engine(CLIENT.sockaddr, seed=1))
    handlers = {}
    for name, message_id in names.items():
        engine = network.join(make_engine(members[name].sockaddr), ALL_NODES)
        start_message_ids(engine, CLIENT, message_id)
        engine.request_listener = handlers[name] = Server()
    start_message_ids(client, ALL_NODES, 0x7D41)
    waiter = client.tokens[None, b"\x86"] = Waiter()
    client.send(Request(Code.GET, type=NON, token=b"\x86", uri_path=["temperature"]), ALL_NODES)
    network.run_until(1.0)
    answers = {"A": (Code.CONTENT, b"22.3 C"), "B": (Code.CONTENT, b"20.9 C"), "C": (Code.NOT_FOUND, b"")}
    for name, (code, payload) in answers.items():
        (entry,) = handlers[name].entries
        assert entry.is_multicast
        entry.respond(Response(code, payload), network.now)
    network.run_until(1000)
    assert [arrow_of(datagram) for datagram in network.trace] == [
        Arrow(CLIENT, ALL_NODES, NON, "0.01", 0x7D41, b"\x86", ("temperature",)),
        Arrow(members["A"], CLIENT, NON, "2.05", 0x60B1, b"\x86", (), b"22.3 C"),
        Arrow(members["B"], CLIENT, NON, "2.05", 0x01A0, b"\x86", (), b"20.9 C"),
        Arrow(members["C"], CLIENT, NON, "4.04", 0x952A, b"\x86"),
    ]
    assert [(response.source_endpoint, response.code.dotted) for response in waiter.responses] == [
        (members["A"], "2.05"),
        (members["C"], "4.04"),
    ]


def test_the_octets_of_the_figures_decode_to_what_the_text_says() -> None:
    request = Message.decode(bytes.fromhex("40017d34bb") + b"temperature")
    assert request == Request(Code.GET, type=CON, message_id=0x7D34, uri_path=["temperature"])
    response = Message.decode(bytes.fromhex("60457d34ff") + b"22.3 C")
    assert response == Response(Code.CONTENT, b"22.3 C", type=ACK, message_id=0x7D34)
