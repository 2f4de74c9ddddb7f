"""Messages for hypothesis: with all option numbers, and lengths at the borders of their forms."""

from __future__ import annotations

from hypothesis import strategies as st

from trio_coap.wire.codes import Code, MessageType
from trio_coap.wire.definitions import DEFINITIONS
from trio_coap.wire.message import Message, Request, Response
from trio_coap.wire.options import Options

GET = b"\x40\x01\x12\x34"
"""The header of a confirmable GET without a token, message ID 0x1234."""

BORDERS = (0, 12, 13, 14, 268, 269, 270, 65804)

numbers = st.one_of(
    st.sampled_from(sorted(DEFINITIONS)),
    st.sampled_from([0, 12, 13, 14, 268, 269, 270, 65534, 65535]),
    st.integers(0, 65535),
)
values = st.one_of(st.binary(max_size=20), st.sampled_from(BORDERS[:-1]).map(bytes))
items = st.lists(st.tuples(numbers, values), max_size=8).map(
    lambda pairs: Options.from_wire(tuple(sorted(pairs, key=lambda pair: pair[0])))
)
request_codes = st.integers(1, 31).map(Code)
response_codes = st.builds(Code.of, st.sampled_from([2, 4, 5]), st.integers(0, 31))
fields = {
    "payload": st.binary(max_size=40),
    "options": items,
    "type": st.sampled_from(MessageType),
    "message_id": st.integers(0, 65535),
    "token": st.binary(max_size=8),
}
empties = st.builds(Message, type=fields["type"], message_id=fields["message_id"])
requests = st.builds(Request, request_codes, **fields)
responses = st.builds(Response, response_codes, **fields)
messages = st.one_of(empties, requests, responses)
